//! A listening socket in the file system: bound in place, given its owner and mode, and only then listened on, so that
//! nobody can connect under another mode than the one that is wanted. (A mode set by umask would be the whole process's
//! while it lasts; a file of another name that is moved in place would take the place of somebody else's unseen.)
//!
//! A file that a crash left behind is replaced, one on which somebody listens never, nor anything that is no socket.
//! That nobody listens is found by asking, so two Bucklers that start at the very same moment on one path may both
//! think so; the later one then has the path.

use std::fs::{self, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use nix::unistd::{Group, User};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use super::bind::BACKLOG;
use crate::config::SocketFile;

/// The longest path of a socket in bytes: `sun_path` of unix(7), without its last NUL.
const PATH_MOST: usize = 107;
/// Owner and group "as they are" (chown(2)); so it is nobody's number.
const UNCHANGED: u32 = u32::MAX;

/// The file of a listening socket. It is removed on drop, if it is still the same file.
#[derive(Debug)]
pub(super) struct Placed {
    path: Arc<Path>,
    /// Device and inode.
    id: (u64, u64),
}

/// A file that stays and shall have another owner, group or mode.
pub(super) struct Change {
    path: Arc<Path>,
    owner: Owner,
    file: SocketFile,
}

/// How a file was before a [`Change`].
pub(super) struct Undo {
    path: Arc<Path>,
    before: Metadata,
}

/// Binds a socket to `path` with its owner and mode. Nobody can connect before it listens.
///
/// # Errors
/// What is in the way, and what to do about it.
pub(super) fn reserve(path: &Arc<Path>, file: &SocketFile) -> Result<(Socket, Placed), String> {
    let (address, socket) = SockAddr::unix(path)
        .and_then(|address| Ok((address, Socket::new(Domain::UNIX, Type::STREAM, None)?)))
        .map_err(|error| not_bound(path, &error))?;
    // Before anything is made or removed.
    let owner = Owner::of(file)?;
    let bound = match socket.bind(&address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            remove_stale(path, &address)?;
            socket.bind(&address)
        }
        bound => bound,
    };
    bound.map_err(|error| not_bound(path, &error))?;
    let metadata = fs::symlink_metadata(path).map_err(|error| not_bound(path, &error))?;
    let placed = Placed { path: Arc::clone(path), id: id(&metadata) };
    owner.give(path, file)?;
    Ok((socket, placed))
}

/// Listens, with one descriptor for each shard.
///
/// # Errors
/// Those of listen(2), and of too many open files.
pub(super) fn open(socket: &Socket, shards: usize) -> io::Result<Vec<UnixListener>> {
    socket.set_nonblocking(true)?;
    let listeners: io::Result<Vec<_>> =
        (0..shards).map(|_| socket.try_clone().map(UnixListener::from)).collect();
    // Last, so that a failure leaves nobody waiting who has connected.
    let listeners = listeners?;
    socket.listen(BACKLOG)?;
    Ok(listeners)
}

impl Placed {
    /// Whether the file is still there, and nobody has put another in its place.
    pub(super) fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|metadata| id(&metadata) == self.id)
    }
}

impl Change {
    /// None: `to` is as `from`.
    ///
    /// # Errors
    /// An owner or a group is not known.
    pub(super) fn new(path: &Arc<Path>, from: &SocketFile, to: &SocketFile) -> Result<Option<Self>, String> {
        if from == to {
            return Ok(None);
        }
        let mut owner = Owner::of(to)?;
        // One that was given away and is no more to be another's is our own again.
        if from.owner.is_some() {
            owner.user.get_or_insert(rustix::process::geteuid().as_raw());
        }
        if from.group.is_some() {
            owner.group.get_or_insert(rustix::process::getegid().as_raw());
        }
        Ok(Some(Self { path: Arc::clone(path), owner, file: to.clone() }))
    }

    /// Makes it. Who is connected stays so.
    ///
    /// # Errors
    /// What is in the way, and what to do about it; the file is as before then.
    pub(super) fn make(self) -> Result<Undo, String> {
        let before = fs::symlink_metadata(&self.path).map_err(|error| error.to_string())?;
        let undo = Undo { path: self.path, before };
        let given = self.owner.give(&undo.path, &self.file);
        given.inspect_err(|_| undo.undo()).map(|()| undo)
    }
}

impl Undo {
    /// Makes the file what it was before.
    pub(super) fn undo(&self) {
        // Nothing is left to do if that fails.
        let _ = lchown(&self.path, Some(self.before.uid()), Some(self.before.gid()));
        let _ = fs::set_permissions(&self.path, self.before.permissions());
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if self.is_there()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "a socket's file cannot be removed");
        }
    }
}

/// An owner and a group as numbers; None: as it is.
struct Owner {
    user: Option<u32>,
    group: Option<u32>,
}

impl Owner {
    fn of(file: &SocketFile) -> Result<Self, String> {
        let user = |name: &str| Ok(User::from_name(name)?.map(|user| user.uid.as_raw()));
        let group = |name: &str| Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()));
        Ok(Self {
            user: number(file.owner.as_deref(), "user", user)?,
            group: number(file.group.as_deref(), "group", group)?,
        })
    }

    fn give(&self, path: &Path, file: &SocketFile) -> Result<(), String> {
        if self.user.is_some() || self.group.is_some() {
            lchown(path, self.user, self.group).map_err(|error| not_given(file, &error))?;
        }
        fs::set_permissions(path, Permissions::from_mode(file.mode))
            .map_err(|error| format!("its mode cannot be set: {error}"))
    }
}

/// The number of a user or group that is given by name or number.
fn number(
    given: Option<&str>,
    what: &str,
    look_up: impl Fn(&str) -> nix::Result<Option<u32>>,
) -> Result<Option<u32>, String> {
    let Some(given) = given else { return Ok(None) };
    if let Ok(number) = given.parse() {
        return match number {
            UNCHANGED => Err(format!("{given} is no number of a {what}")),
            _ => Ok(Some(number)),
        };
    }
    match look_up(given) {
        Ok(Some(number)) => Ok(Some(number)),
        Ok(None) => Err(format!("this machine has no {what} `{given}`: create it, or name another")),
        Err(error) => Err(format!("the {what} `{given}` cannot be looked up: {}", io::Error::from(error))),
    }
}

/// Removes the file of a socket on which nobody listens any more.
fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err("there is a file of that name that is no socket: remove it, or choose another path"
                .to_owned());
        }
        // It went away by itself.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        _ => {}
    }
    // It must not block: a listener whose queue is full would make it wait.
    let asked = Socket::new(Domain::UNIX, Type::STREAM, None)
        .and_then(|socket| socket.set_nonblocking(true).and_then(|()| socket.connect(address)));
    match asked {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| format!("a stale socket is there and cannot be removed: {error}")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(format!(
            "a socket is there, and whether anybody listens on it cannot be asked: {error}; remove it if nobody does, or choose another path"
        )),
        _ => Err("another program listens there: stop it, or choose another path".to_owned()),
    }
}

fn not_bound(path: &Path, error: &io::Error) -> String {
    let length = path.as_os_str().len();
    if length > PATH_MOST {
        return format!(
            "its path has {length} bytes, and a socket's may have {PATH_MOST}: choose a shorter one"
        );
    }
    let folder = path.parent().unwrap_or(path).display();
    match error.kind() {
        ErrorKind::NotFound => {
            format!("its folder {folder} is not there: create it first (with systemd: RuntimeDirectory=)")
        }
        ErrorKind::PermissionDenied => {
            format!("{error}: the user that Buckler runs as may not create files in {folder}")
        }
        _ => error.to_string(),
    }
}

fn not_given(file: &SocketFile, error: &io::Error) -> String {
    let part = |what: &str, name: &Option<Arc<str>>| name.as_ref().map(|name| format!("{what} `{name}`"));
    let whom: Vec<_> = part("owner", &file.owner).into_iter().chain(part("group", &file.group)).collect();
    let hint = match Errno::from_io_error(error) {
        Some(Errno::PERM) => {
            "; only root (CAP_CHOWN) may choose the owner, others one of their own groups at most"
        }
        _ => "",
    };
    format!("it cannot be given to {}: {error}{hint}", whom.join(" and "))
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A folder of a test's own, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("buckler-socket-{}-{number}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn path(&self, name: &str) -> Arc<Path> {
            self.0.join(name).into()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn plain(mode: u32) -> SocketFile {
        SocketFile { mode, owner: None, group: None }
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn refused(path: &Arc<Path>) -> String {
        reserve(path, &plain(0o660)).map(|_| ()).unwrap_err()
    }

    #[test]
    fn a_socket_has_its_mode_before_anybody_can_connect() {
        let folder = Folder::new();
        for wanted in [0o660, 0o600, 0o666, 0o777, 0o000] {
            let path = folder.path(&format!("{wanted:o}"));
            let (socket, _placed) = reserve(&path, &plain(wanted)).unwrap();
            assert_eq!(mode(&path), wanted);
            assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            let listeners = open(&socket, 3).unwrap();
            assert_eq!(listeners.len(), 3);
            let _connected = UnixStream::connect(&path).unwrap();
            listeners[1].accept().unwrap();
        }
    }

    #[test]
    fn the_file_goes_with_its_socket_unless_somebody_replaced_it() {
        let folder = Folder::new();
        let path = folder.path("a");
        drop(reserve(&path, &plain(0o660)).unwrap());
        assert!(!path.exists());
        let (_socket, placed) = reserve(&path, &plain(0o660)).unwrap();
        assert!(placed.is_there());
        fs::remove_file(&path).unwrap();
        assert!(!placed.is_there());
        fs::write(&path, "somebody else's").unwrap();
        drop(placed);
        assert!(path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_one_in_use_is_not() {
        let folder = Folder::new();
        let path = folder.path("a");
        let theirs = UnixListener::bind(&path).unwrap();
        let why = refused(&path);
        assert!(why.contains("another program listens there"), "{why}");
        assert!(UnixStream::connect(&path).is_ok(), "it was taken from the one who listens");
        drop(theirs);
        let (socket, _placed) = reserve(&path, &plain(0o660)).unwrap();
        open(&socket, 1).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = Folder::new();
        let file = folder.path("file");
        fs::write(&file, "precious").unwrap();
        let stale = folder.path("stale");
        drop(UnixListener::bind(&stale).unwrap());
        let link = folder.path("link");
        std::os::unix::fs::symlink(&stale, &link).unwrap();
        let sub = folder.path("folder");
        fs::create_dir(&sub).unwrap();
        for path in [&file, &link, &sub] {
            let why = refused(path);
            assert!(why.contains("no socket: remove it"), "{why}");
        }
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        assert!(fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
    }

    #[test]
    fn an_error_says_what_to_do() {
        let folder = Folder::new();
        let why = refused(&folder.path("no/such/a"));
        assert!(why.contains("/no/such is not there: create it first"), "{why}");
        let why = refused(&folder.path(&"x".repeat(PATH_MOST)));
        assert!(why.contains("a socket's may have 107: choose a shorter one"), "{why}");
        let why = not_bound(Path::new("/run/x/a"), &Errno::ACCESS.into());
        assert!(why.contains("may not create files in /run/x"), "{why}");
        let path = folder.path("a");
        for (owner, want) in
            [("no-such-user", "no user `no-such-user`"), ("4294967295", "no number of a user")]
        {
            let file = SocketFile { owner: Some(owner.into()), ..plain(0o660) };
            let why = reserve(&path, &file).map(|_| ()).unwrap_err();
            assert!(why.contains(want), "{why}");
            assert!(!path.exists(), "it was bound before its owner was known");
        }
        let file = SocketFile { group: Some("no-such-group".into()), ..plain(0o660) };
        assert!(reserve(&path, &file).is_err_and(|why| why.contains("no group `no-such-group`")));
        let file = SocketFile { owner: Some("root".into()), group: Some("0".into()), mode: 0 };
        let why = not_given(&file, &Errno::PERM.into());
        assert!(why.contains("owner `root` and group `0`") && why.contains("CAP_CHOWN"), "{why}");
    }

    #[test]
    fn a_path_of_the_longest_length_is_taken() {
        let folder = Folder::new();
        let path = folder.path(&"x".repeat(PATH_MOST - folder.0.as_os_str().len() - 1));
        assert_eq!(path.as_os_str().len(), PATH_MOST);
        reserve(&path, &plain(0o660)).unwrap();
    }

    #[test]
    fn owner_group_and_mode_can_change_while_it_listens() {
        let folder = Folder::new();
        let path = folder.path("a");
        let from = plain(0o600);
        let (socket, _placed) = reserve(&path, &from).unwrap();
        let _listeners = open(&socket, 1).unwrap();
        // What everybody may do: give it to oneself.
        let own = fs::symlink_metadata(&path).unwrap();
        let user = User::from_uid(own.uid().into()).unwrap().unwrap().name;
        let group = own.gid().to_string();
        let to = SocketFile { mode: 0o640, owner: Some(user.into()), group: Some(group.into()) };
        let undo = Change::new(&path, &from, &to).unwrap().unwrap().make().unwrap();
        assert_eq!(mode(&path), 0o640);
        undo.undo();
        assert_eq!(mode(&path), 0o600);
        assert!(Change::new(&path, &to, &to).unwrap().is_none());
        let impossible = SocketFile { owner: Some("no-such-user".into()), ..plain(0o777) };
        assert!(Change::new(&path, &from, &impossible).is_err());
        Change::new(&path, &to, &plain(0o666)).unwrap().unwrap().make().unwrap();
        let back = fs::symlink_metadata(&path).unwrap();
        assert_eq!((back.mode() & 0o777, back.uid()), (0o666, own.uid()));
        assert!(UnixStream::connect(&path).is_ok());
    }
}
