//! The programs that stand beside Buckler in the field: nginx and HAProxy as real processes, before it and behind it,
//! and curl as a client. Each runs in the foreground, on loopback, and ends with its test.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::world::{World, eventually};

/// A running program; killed when dropped.
pub(crate) struct Neighbour(Child);

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// HAProxy with these `frontend`, `backend` and `listen` sections, once something takes connections on `port`.
pub(crate) fn haproxy(world: &World, port: u16, sections: &str) -> Neighbour {
    let defaults =
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n";
    let file = world.file("haproxy.cfg", &format!("{defaults}{sections}\n"));
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(file);
    start(command, world, "haproxy", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
}

/// nginx with these lines in its one `server`, once `is_ready`.
pub(crate) fn nginx(world: &World, server: &str, is_ready: impl FnMut() -> bool) -> Neighbour {
    let dir = world.dir().display();
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temp: String = temp.iter().map(|name| format!("  {name}_temp_path {dir};\n")).collect();
    // One process: a master that is killed would leave its workers behind.
    let text = format!(
        "daemon off;\nmaster_process off;\npid {dir}/nginx.pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\n  access_log off;\n{temp}  server {{\n{server}\n  }}\n}}\n"
    );
    let file = world.file("nginx.conf", &text);
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-c").arg(file).arg("-e").arg("stderr");
    start(command, world, "nginx", is_ready)
}

fn start(mut command: Command, world: &World, name: &str, mut is_ready: impl FnMut() -> bool) -> Neighbour {
    let said = world.dir().join(format!("{name}.said"));
    let log = std::fs::File::create(&said).unwrap();
    let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
    let mut neighbour = Neighbour(child.unwrap_or_else(|e| panic!("{name} (apt-get install {name}): {e}")));
    eventually(name, || {
        if let Some(status) = neighbour.0.try_wait().unwrap() {
            panic!("{name} ended with {status}:\n{}", std::fs::read_to_string(&said).unwrap());
        }
        is_ready()
    });
    neighbour
}

/// curl with these arguments: the answer's status (0 if there was none), and its body.
pub(crate) fn curl(arguments: &[&str]) -> (u16, String) {
    let curl = ["-s", "-m", "15", "-w", "\n%{http_code}"];
    let output = Command::new("curl").args(curl).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or(("", &text));
    (status.parse().unwrap_or_else(|_| panic!("curl: {text:?}")), body.to_owned())
}

/// curl over a Unix socket.
pub(crate) fn curl_unix(socket: &Path, path: &str) -> (u16, String) {
    curl(&["--unix-socket", socket.to_str().unwrap(), &format!("http://api.example.test{path}")])
}
