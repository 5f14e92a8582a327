//! The runtimes that are built only where they are asked for (`--features others`).

use crate::{Contender, on_compio, on_glommio, on_monoio};

pub const OTHERS: &[Contender] = &[
    Contender { name: "monoio", run: on_monoio::run, does_less: false },
    Contender { name: "compio", run: on_compio::run, does_less: false },
    Contender { name: "glommio", run: on_glommio::run, does_less: false },
];
