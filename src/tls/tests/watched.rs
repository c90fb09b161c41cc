//! Files that change while they are in use.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::*;
use crate::config::ServiceName;
use crate::tls::server::Reread;
use crate::tls::watch::{Pace, run};

const PACE: Pace = Pace {
    quiet: Duration::from_millis(20),
    burst: Duration::from_millis(200),
    untold: Duration::from_millis(50),
    anyway: Duration::from_secs(600),
};

fn one(root: &Authority) -> (Folder, Service) {
    let folder = Folder::new();
    write_pair(&folder, 0, &root.server(&["old.test"]));
    let service = service(&folder, |_| {});
    (folder, service)
}

fn subject(terms: &TlsTerms) -> String {
    terms.certificates()[0].subject.clone()
}

#[test]
fn new_files_are_for_new_connections_and_touch_no_open_one() {
    let root = Authority::new("root");
    let (folder, service) = one(&root);
    let (terms, client) = (terms(&service), Client::new(&root));
    let mut open = client.connect(&terms, "old.test").unwrap();
    let mut begun = ServerConnection::new(terms.config()).unwrap();
    assert!(matches!(terms.reread(NOW), Reread::Unchanged));
    write_pair(&folder, 0, &root.server(&["new.test"]));
    assert!(matches!(terms.reread(NOW), Reread::Taken(_)));
    assert!(open.carries());
    assert_eq!(client.connect(&terms, "new.test").unwrap().leaf().subject, "CN=new.test");
    assert!(Client::new(&root).connect(&terms, "old.test").is_err());
    // A handshake that had begun ends with what it began with.
    let name = ServerName::try_from("old.test").unwrap();
    let late = ClientConnection::new(Arc::new(client.config), name).unwrap();
    std::mem::swap(&mut begun, &mut open.server);
    open.client = late;
    open.exchange().unwrap();
    assert_eq!(open.leaf().subject, "CN=old.test");
}

#[test]
fn bad_new_files_keep_the_old_ones_and_show() {
    let root = Authority::new("root");
    let (folder, service) = one(&root);
    let terms = terms(&service);
    let good = fs::read(folder.path("0.pem")).unwrap();
    folder.write("0.pem", "not a certificate");
    let Reread::Failed(why) = terms.reread(NOW) else { panic!("it was taken") };
    assert!(why.contains("t.yaml:10") && why.contains("0.pem"), "{why}");
    assert!(matches!(terms.reread(NOW), Reread::StillFailed));
    assert_eq!((terms.failures(), subject(&terms).as_str()), (1, "CN=old.test"));
    assert_eq!(terms.stale().unwrap().since, NOW);
    assert!(Client::new(&root).connect(&terms, "old.test").is_ok());
    // A key that does not belong to it, as between two writes.
    let other = root.server(&["new.test"]);
    folder.write("0.pem", &other.pem);
    let Reread::Failed(why) = terms.reread(NOW) else { panic!("it was taken") };
    assert!(why.contains("is not the key"), "{why}");
    assert_eq!(terms.failures(), 2);
    folder.write("0.pem", good);
    assert!(matches!(terms.reread(NOW), Reread::Unchanged));
    assert_eq!((terms.stale(), terms.failures()), (None, 2));
}

#[test]
fn an_expired_certificate_does_not_replace_a_good_one() {
    let root = Authority::new("root");
    let (folder, service) = one(&root);
    let good = terms(&service);
    let expired = |name: &str| {
        root.issue(name, |params| {
            params.subject_alt_names = vec![authority::dns(name)];
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    };
    write_pair(&folder, 0, &expired("expired.test"));
    assert!(matches!(good.reread(NOW), Reread::Failed(_)));
    // But a start goes on with it, and one of two is as good as the other.
    let bad = terms(&service);
    write_pair(&folder, 0, &expired("too.test"));
    assert!(matches!(bad.reread(NOW), Reread::Taken(_)));
    assert_eq!(subject(&bad), "CN=too.test");
}

#[test]
fn a_renewal_is_taken_although_its_chain_holds_an_expired_issuer() {
    let root = Authority::new("root");
    let crossed = root.issue("crossed", |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let (between, folder) = (root.below("crossed"), Folder::new());
    let write = |name: &str| {
        let leaf = between.server(&[name]);
        folder.write("0.pem", format!("{}{}", leaf.pem, crossed.pem));
        folder.write("0.key", &leaf.key);
    };
    write("old.test");
    let terms = terms(&service(&folder, |_| {}));
    write("new.test");
    assert!(matches!(terms.reread(NOW), Reread::Taken(_)), "{:?}", terms.stale());
    assert_eq!((subject(&terms).as_str(), terms.failures()), ("CN=new.test", 0));
}

#[test]
fn a_reload_with_bad_files_fails_and_leaves_what_runs() {
    let root = Authority::new("root");
    let (folder, service) = one(&root);
    let running = terms(&service);
    fs::remove_file(folder.path("0.key")).unwrap();
    let findings = TlsTerms::new(&service, Some(&running), NOW).unwrap_err();
    assert!(findings[0].to_string().contains("cannot be read"), "{findings:?}");
    assert_eq!((running.failures(), running.stale().is_some()), (1, true));
    assert!(Client::new(&root).connect(&running, "old.test").is_ok());
}

/// Waits until the terms are as `condition` wants them, at most 20 s.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "in vain: {what}");
}

/// Runs `change` while the files of the terms are watched.
fn watching<F: Future<Output = ()>>(terms: &Arc<TlsTerms>, change: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let services = vec![(ServiceName::new("playlist").unwrap(), Arc::clone(terms))];
        tokio::select! {
            biased;
            () = run(services, PACE) => {}
            () = change => {}
        }
    });
}

#[test]
fn files_are_read_again_when_they_are_renamed_into_place() {
    let root = Authority::new("root");
    let (folder, service) = one(&root);
    let terms = terms(&service);
    watching(&terms, async {
        for name in ["new.test", "newer.test"] {
            let new = root.server(&[name]);
            for (file, text) in [("0.pem", &new.pem), ("0.key", &new.key)] {
                folder.write("next", text);
                fs::rename(folder.path("next"), folder.path(file)).unwrap();
            }
            eventually(name, || subject(&terms) == format!("CN={name}")).await;
        }
        folder.write("0.key", "broken");
        eventually("it shows", || terms.stale().is_some()).await;
        assert_eq!(subject(&terms), "CN=newer.test");
    });
}

#[test]
fn the_swap_of_a_kubernetes_volume_is_seen() {
    let (root, folder) = (Authority::new("root"), Folder::new());
    // As kubelet does it: files are links into `..data`, which is a link that is renamed over.
    let publish = |version: &str, issued: &Issued| {
        fs::create_dir(folder.path(version)).unwrap();
        folder.write(&format!("{version}/0.pem"), &issued.pem);
        folder.write(&format!("{version}/0.key"), &issued.key);
        symlink(version, folder.path("..data_tmp")).unwrap();
        fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
    };
    publish("..2026_11_01", &root.server(&["old.test"]));
    for file in ["0.pem", "0.key"] {
        symlink(format!("..data/{file}"), folder.path(file)).unwrap();
    }
    let terms = terms(&service(&folder, |_| {}));
    watching(&terms, async {
        for (version, name) in [("..2026_11_02", "new.test"), ("..2026_11_03", "newer.test")] {
            publish(version, &root.server(&[name]));
            eventually(name, || subject(&terms) == format!("CN={name}")).await;
        }
    });
    assert_eq!(terms.failures(), 0, "both files changed at once");
}

#[test]
fn a_folder_that_is_replaced_is_found_again() {
    let (root, outer) = (Authority::new("root"), Folder::new());
    let folder = Folder(outer.path("tls"));
    fs::create_dir(&folder).unwrap();
    write_pair(&folder, 0, &root.server(&["old.test"]));
    let terms = terms(&service(&folder, |_| {}));
    watching(&terms, async {
        fs::rename(&folder, outer.path("gone")).unwrap();
        eventually("it is missed", || terms.stale().is_some()).await;
        fs::create_dir(&folder).unwrap();
        write_pair(&folder, 0, &root.server(&["new.test"]));
        eventually("it is found", || subject(&terms) == "CN=new.test" && terms.stale().is_none()).await;
    });
}
