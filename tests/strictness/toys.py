def self_test(cases, say): return 0
