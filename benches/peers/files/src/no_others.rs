//! Nobody else takes part.

use crate::Contender;

pub const OTHERS: &[Contender] = &[];
