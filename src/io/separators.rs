//! What a read looks for: one separator, or several of which the one that ends first counts.
//!
//! A trait, so that `read_until` takes both without a list being made for the usual single one.

/// The separators of a `read_until`: bytes or a text for one, an array, slice or vector of them for
/// several.
///
/// ```
/// # corio::run(async {
/// # let listener = corio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let client = corio::net::TcpStream::connect(listener.local_addr()?).await?;
/// # let mut stream = listener.accept().await?;
/// client.write(b"one,two;three.").await?;
/// assert_eq!(stream.read_until(b",", 80).await?, b"one,");
/// assert_eq!(stream.read_until([",", ";"], 80).await?, b"two;");
/// let ends: [&[u8]; 2] = [b"...", b"."];
/// assert_eq!(stream.read_until(ends, 80).await?, b"three.");
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
pub trait Separators {
    /// How many there are; the same number every time.
    fn count(&self) -> usize;

    /// The one with this index, below [`count`](Self::count).
    fn get(&self, index: usize) -> &[u8];
}

macro_rules! one {
    ($([$($generics:tt)*] $type:ty,)*) => {$(
        impl<$($generics)*> Separators for $type {
            fn count(&self) -> usize {
                1
            }

            fn get(&self, _index: usize) -> &[u8] {
                self.as_ref()
            }
        }
    )*};
}

one!([] [u8], [const N: usize] [u8; N], [] Vec<u8>, [] str, [] String,);

macro_rules! several {
    ($([$($generics:tt)*] $type:ty,)*) => {$(
        impl<$($generics)*> Separators for $type {
            fn count(&self) -> usize {
                self.len()
            }

            fn get(&self, index: usize) -> &[u8] {
                self[index].as_ref()
            }
        }
    )*};
}

several!(
    [] [&[u8]], [const N: usize] [&[u8]; N], [] Vec<&[u8]>,
    [const M: usize] [&[u8; M]], [const M: usize, const N: usize] [&[u8; M]; N],
    [] [&str], [const N: usize] [&str; N], [] Vec<&str>,
    [] [Vec<u8>], [] Vec<Vec<u8>>,
);

impl<S: Separators + ?Sized> Separators for &S {
    fn count(&self) -> usize {
        (**self).count()
    }

    fn get(&self, index: usize) -> &[u8] {
        (**self).get(index)
    }
}

/// All of them.
pub(super) fn each<S: Separators + ?Sized>(separators: &S) -> impl Iterator<Item = &[u8]> {
    (0..separators.count()).map(|index| separators.get(index))
}
