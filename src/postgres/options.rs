//! Which server, as whom, and how: a connection string or the environment's `PG*`.
//!
//! The library knows the strings; here are the environment, the order in which hosts are tried, and
//! what of the settings cannot be had.

use std::env;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::FromStr;

use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::config::{
    Config, Host, LoadBalanceHosts, SslMode, SslNegotiation, TargetSessionAttrs,
};

use super::connection::Connection;
use super::link::{Link, drive};
use super::traffic::{Counted, Traffic};
use super::transport::{Peer, Prepared, Secure, Socket};
use super::{Client, Error};
use crate::net::{self, TcpStream};
use crate::task::spawn;
use crate::time::timeout;

const PORT_DEFAULT: u16 = 5432;

/// Where Debian's server has its socket, which its own library tries if no host is given.
const SOCKET_FOLDER_DEFAULT: &str = "/var/run/postgresql";

/// The environment's names, and what they are called in a connection string.
const VARIABLES: &[(&str, &str)] = &[
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGDATABASE", "dbname"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGOPTIONS", "options"),
    ("PGAPPNAME", "application_name"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
];

/// Which server, as whom, and how.
///
/// Made of a connection string (`postgres://user:password@host:5432/database`, or `host=.. user=..`
/// as in `libpq`), of the environment's `PG*`, or of the library's [`Config`].
///
/// ```no_run
/// use corio::postgres::ConnectOptions;
/// # corio::run(async {
/// let options: ConnectOptions = "postgres://me@localhost/shop?connect_timeout=5".parse()?;
/// let connection = options.connect().await?;
/// let row = connection.query_one("SELECT 6 * $1::int", &[&7]).await?;
/// assert_eq!(row.get::<_, i32>(0), 42);
/// # Ok::<(), corio::postgres::Error>(())
/// # }).unwrap();
/// ```
///
/// Several hosts are tried in their order, each with `connect_timeout`. `keepalives*`,
/// `tcp_user_timeout` and `load_balance_hosts` have no effect here, and `load_balance_hosts=random`
/// is refused; a file of passwords is not read.
#[derive(Clone)]
pub struct ConnectOptions {
    config: Config,
    pub(super) secure: Option<Rc<dyn Secure>>,
}

impl ConnectOptions {
    /// Those of the environment: `PGHOST`, `PGHOSTADDR`, `PGPORT`, `PGDATABASE`, `PGUSER`,
    /// `PGPASSWORD`, `PGOPTIONS`, `PGAPPNAME`, `PGSSLMODE`, `PGSSLNEGOTIATION`,
    /// `PGCHANNELBINDING`, `PGCONNECT_TIMEOUT` and `PGTARGETSESSIONATTRS`. Without a host it is the
    /// socket in `/var/run/postgresql`, or `localhost` if that folder is missing.
    ///
    /// # Errors
    ///
    /// If a variable's value is none.
    pub fn from_env() -> Result<ConnectOptions, Error> {
        ConnectOptions::from_variables(|name| env::var(name).ok())
    }

    fn from_variables(
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<ConnectOptions, Error> {
        let mut text = String::new();
        for (name, keyword) in VARIABLES {
            if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
                let value = value.replace('\\', "\\\\").replace('\'', "\\'");
                text.push_str(&format!("{keyword}='{value}' "));
            }
        }
        text.parse()
    }

    /// The library's settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// That of the last host that was tried: the network's, or what the server says.
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Weak**: a session may have begun by the time it is dropped; then it is closed.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let (client, link) = self.open().await?;
        Ok(Connection::new(client, link, None))
    }

    /// Starts a session with the first host that takes one.
    pub(super) async fn open(&self) -> Result<(Client, Rc<Link>), Error> {
        if self.config.get_load_balance_hosts() == LoadBalanceHosts::Random {
            return Err(Error::invalid("`load_balance_hosts=random` is not supported"));
        }
        let mut last = Error::invalid("no host is given");
        for endpoint in self.endpoints()? {
            let attempt = self.open_at(&endpoint);
            let outcome = match self.config.get_connect_timeout() {
                Some(limit) if !limit.is_zero() => match timeout(*limit, attempt).await {
                    Ok(outcome) => outcome,
                    Err(_) => Err(Error::Io(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("no session with PostgreSQL at {endpoint} within {limit:?}"),
                    ))),
                },
                _ => attempt.await,
            };
            match outcome {
                Ok(opened) => return Ok(opened),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn open_at(&self, endpoint: &Endpoint) -> Result<(Client, Rc<Link>), Error> {
        let explain = |error: io::Error| Error::Io(endpoint.explain(&error));
        let (socket, peer) = endpoint.connect().await.map_err(explain)?;
        let socket = match self.prepare(socket, &peer).await {
            Err(Error::Io(error)) => return Err(explain(error)),
            other => other?,
        };
        let traffic = Traffic::new();
        let config = session_config(&self.config, socket.is_secret());
        let stream = Counted::new(socket, Rc::clone(&traffic));
        let (client, library) = config.connect_raw(stream, Prepared).await?;
        let link = Link::new(self.clone(), peer, traffic, client.cancel_token());
        drop(spawn(drive(library, Rc::clone(&link))));
        self.check_session(&client).await?;
        Ok((client, link))
    }

    /// Makes a stream to this peer secret, as the settings want it.
    pub(super) async fn prepare(&self, socket: Socket, peer: &Peer) -> Result<Socket, Error> {
        let (mode, negotiation) = (self.config.get_ssl_mode(), self.config.get_ssl_negotiation());
        socket.prepare(peer.host(), mode, negotiation, self.secure.as_ref()).await
    }

    /// Whether the server is of the kind that is wanted.
    async fn check_session(&self, client: &Client) -> Result<(), Error> {
        let wants_read_only = match self.config.get_target_session_attrs() {
            TargetSessionAttrs::Any => return Ok(()),
            TargetSessionAttrs::ReadWrite => "off",
            TargetSessionAttrs::ReadOnly => "on",
            other => return Err(Error::invalid(format!("{other:?} is not supported"))),
        };
        let answer = client.simple_query("SHOW transaction_read_only").await?;
        let is_wanted = answer.iter().any(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0) == Some(wants_read_only),
            _ => false,
        });
        match is_wanted {
            true => Ok(()),
            false => Err(Error::Io(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the server's sessions are not of the kind that `target_session_attrs` asks for",
            ))),
        }
    }

    fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        let (hosts, addresses) = (self.config.get_hosts(), self.config.get_hostaddrs());
        let ports = self.config.get_ports();
        if hosts.is_empty() && addresses.is_empty() {
            let port = ports.first().copied().unwrap_or(PORT_DEFAULT);
            return Ok(vec![Endpoint::default_with(port)]);
        }
        let count = hosts.len().max(addresses.len());
        if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
            return Err(Error::invalid(format!(
                "{} hosts and {} addresses of hosts: give as many of each",
                hosts.len(),
                addresses.len()
            )));
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(Error::invalid(format!("{} ports for {count} hosts", ports.len())));
        }
        let port = |index: usize| match ports {
            [] => PORT_DEFAULT,
            [one] => *one,
            many => many[index],
        };
        let endpoint = |index: usize| match (hosts.get(index), addresses.get(index)) {
            (Some(Host::Unix(folder)), _) => Endpoint::Unix(socket_in(folder, port(index))),
            (Some(Host::Tcp(name)), address) => {
                Endpoint::Tcp { host: name.clone(), address: address.copied(), port: port(index) }
            }
            (None, address) => Endpoint::Tcp {
                host: address.map(IpAddr::to_string).unwrap_or_default(),
                address: address.copied(),
                port: port(index),
            },
        };
        Ok((0..count).map(endpoint).collect())
    }
}

impl From<Config> for ConnectOptions {
    fn from(config: Config) -> ConnectOptions {
        ConnectOptions { config, secure: None }
    }
}

impl FromStr for ConnectOptions {
    type Err = Error;

    fn from_str(text: &str) -> Result<ConnectOptions, Error> {
        Ok(ConnectOptions::from(text.parse::<Config>()?))
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What the library is to know of a stream that is ready.
fn session_config(config: &Config, is_secret: bool) -> Config {
    let mut config = config.clone();
    match is_secret {
        true => config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct),
        false => config.ssl_mode(SslMode::Disable),
    };
    config
}

fn socket_in(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}

/// A server as the settings name it.
enum Endpoint {
    Tcp { host: String, address: Option<IpAddr>, port: u16 },
    Unix(PathBuf),
}

impl Endpoint {
    fn default_with(port: u16) -> Endpoint {
        let folder = Path::new(SOCKET_FOLDER_DEFAULT);
        match folder.exists() {
            true => Endpoint::Unix(socket_in(folder, port)),
            false => Endpoint::Tcp { host: "localhost".to_owned(), address: None, port },
        }
    }

    async fn connect(&self) -> io::Result<(Socket, Peer)> {
        let (host, address, port) = match self {
            Endpoint::Tcp { host, address, port } => (host, *address, *port),
            Endpoint::Unix(path) => {
                let peer = Peer::Unix(path.clone());
                return Ok((peer.connect().await?, peer));
            }
        };
        let stream = match address {
            Some(address) => TcpStream::connect(SocketAddr::new(address, port)).await?,
            None => net::connect(host, port).await?,
        };
        let peer = Peer::Tcp { host: host.clone(), address: stream.peer_addr()? };
        Ok((Socket::Tcp(stream), peer))
    }

    fn explain(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("no session with PostgreSQL at {self}: {error}"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Endpoint::Unix(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read_as_it_is_written() {
        let options = ConnectOptions::from_variables(|name| match name {
            "PGHOST" => Some("/tmp/a b".to_owned()),
            "PGPORT" => Some("5433".to_owned()),
            "PGUSER" => Some("o'brien".to_owned()),
            "PGPASSWORD" => Some("back\\slash".to_owned()),
            "PGSSLMODE" => Some("disable".to_owned()),
            "PGDATABASE" => Some(String::new()),
            _ => None,
        });
        let options = options.unwrap();
        let config = options.config();
        assert_eq!(config.get_hosts(), [Host::Unix("/tmp/a b".into())]);
        assert_eq!(config.get_ports(), [5433]);
        assert_eq!(config.get_user(), Some("o'brien"));
        assert_eq!(config.get_password(), Some(&b"back\\slash"[..]));
        assert_eq!(config.get_dbname(), None);
        let endpoints = options.endpoints().unwrap();
        assert_eq!(endpoints[0].to_string(), "/tmp/a b/.s.PGSQL.5433");

        let wrong = |name: &'static str| (name == "PGPORT").then(|| "many".to_owned());
        assert!(ConnectOptions::from_variables(wrong).is_err());
    }

    #[test]
    fn hosts_addresses_and_ports_have_to_fit() {
        let endpoints = |text: &str| {
            let endpoints = text.parse::<ConnectOptions>()?.endpoints()?;
            Ok::<_, Error>(endpoints.iter().map(Endpoint::to_string).collect::<Vec<_>>())
        };
        assert_eq!(endpoints("host=a,b port=1,2").unwrap(), ["a:1", "b:2"]);
        assert_eq!(endpoints("host=a,b port=7").unwrap(), ["a:7", "b:7"]);
        assert_eq!(endpoints("host=a,b").unwrap(), ["a:5432", "b:5432"]);
        assert_eq!(endpoints("hostaddr=10.0.0.1").unwrap(), ["10.0.0.1:5432"]);
        assert!(endpoints("host=a,b port=1,2,3").is_err());
        assert!(endpoints("host=a,b hostaddr=10.0.0.1").is_err());
    }
}
