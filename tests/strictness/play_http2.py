"""later"""
def play(case, port, origin, patience=1.0):
    raise NotImplementedError
def show(seen):
    return []
