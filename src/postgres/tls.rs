//! Connections in secret: the settings take a connector of `tls`.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::ConnectOptions;
use super::transport::{Duplex, Secure, Secured};
use crate::net::TcpStream;
use crate::tls::Connector;

impl ConnectOptions {
    /// Has TCP connections made secret by this connector, as `sslmode` says: `prefer`, the default,
    /// does it if the server can, `require` always. The server's certificate is verified in both,
    /// against the host's name; what the server's own library calls `verify-full`. A Unix socket
    /// stays as it is.
    ///
    /// ```no_run
    /// use corio::postgres::ConnectOptions;
    /// use corio::tls::Connector;
    ///
    /// # corio::run(async {
    /// let options: ConnectOptions = "postgres://me@db.example/shop?sslmode=require".parse()?;
    /// let connection = options.tls(Connector::new()?).connect().await?;
    /// # Ok::<(), corio::postgres::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// The certificate is not bound to the password's proof: `channel_binding=require` fails.
    #[must_use = "it gives the options back"]
    pub fn tls(mut self, connector: Connector) -> ConnectOptions {
        self.secure = Some(Rc::new(connector));
        self
    }
}

impl Secure for Connector {
    fn secure<'a>(&'a self, stream: TcpStream, host: &'a str) -> LocalBoxFuture<'a, Secured> {
        Box::pin(async move {
            let stream = self.connect(host, stream).await?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        })
    }
}
