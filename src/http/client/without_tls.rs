//! Stands where TLS would, without the feature `tls`: whoever asks for it is told.

use super::connecting::Stream;
use super::error::{Error, Phase};

/// What TLS is spoken with; there is none.
#[derive(Clone, Default)]
pub(super) struct Connector;

impl Connector {
    /// Says that it cannot.
    pub(super) async fn secure<S: Stream>(
        &self,
        _: &str,
        _: S,
        _: bool,
    ) -> Result<(S, bool), Error> {
        let text =
            "an address of the scheme `https` needs the feature `tls` of corio, which is off";
        Err(Error::new(Phase::Connect, text))
    }
}
