//! A PgBouncer before the throw-away Postgres, gone with its value.

use super::{
    postgres::{free_port, server, somebody},
    programs::{on_path, program},
};
use std::{
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio_postgres::NoTls;

pub struct Pooler {
    port: u16,
    process: Child,
    folder: tempfile::TempDir,
}

impl Pooler {
    /// In transaction mode. Few sessions of the server for many of its clients, so that hardly two transactions of one client
    /// meet the same one.
    pub async fn start() -> Self {
        Self::start_in("transaction").await
    }

    pub async fn start_in(mode: &str) -> Self {
        let pgbouncer = program("pgbouncer", || on_path("pgbouncer"));
        let (port, server) = (free_port(), server().await);
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
            auth_type = any\npool_mode = {mode}\ndefault_pool_size = 6\nmax_client_conn = 200\nlogfile = {}/log\n",
            server.port,
            folder.path().display()
        );
        // `any` needs a user for the server's side.
        let settings = settings.replacen(&format!("port={}", server.port), &format!("port={} user=daemon", server.port), 1);
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).expect("a file can be written");
        let mut command = Command::new(pgbouncer);
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((user, group)) = somebody() {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).expect("root may give a folder away");
            command.uid(user).gid(group);
        }
        let process = command.spawn().expect("PgBouncer starts");
        let pooler = Self { port, process, folder };
        let answers = async {
            while tokio_postgres::connect(&pooler.url("postgres"), NoTls).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), answers).await.expect("PgBouncer answers");
        pooler
    }

    /// From session mode to transaction mode, under everybody's feet.
    pub fn share_sessions(&self) {
        let file = self.folder.path().join("pgbouncer.ini");
        let settings = std::fs::read_to_string(&file).expect("it was written");
        std::fs::write(&file, settings.replace("pool_mode = session", "pool_mode = transaction")).expect("a file can be written");
        let done = Command::new("kill").args(["-HUP", &self.process.id().to_string()]).status();
        assert!(done.expect("kill runs").success());
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://daemon@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
