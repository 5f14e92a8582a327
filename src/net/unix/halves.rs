//! The two directions of a Unix stream, lent or owned.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::io::{AsyncBufRead, AsyncRead, AsyncWrite};

use super::{SocketAddr, UnixStream};
use crate::driver::{Chunk, Segment};
use crate::io::{Lines, Reader, Separators, Stream};

halves!(UnixStream, local_name_methods);
