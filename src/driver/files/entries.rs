//! The entries of a folder, taken out of what getdents64(2) fills: records of a fixed head and a
//! name that ends with a zero.
//!
//! ```text
//!   0 inode (8)   8 offset (8)   16 length of the record (2)   18 kind (1)   19 name, 0, padding
//! ```

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

const LENGTH_AT: usize = 16;
const KIND_AT: usize = 18;
const NAME_AT: usize = 19;

/// An entry as the kernel gives it.
#[derive(Debug)]
pub(crate) struct RawEntry {
    pub(crate) name: OsString,
    pub(crate) inode: u64,
    /// As in the kind bits of a mode; 0 if the file system does not tell.
    pub(crate) kind: u32,
}

/// Takes the records apart; `.` and `..` are left out. A record that does not fit ends it.
pub(crate) fn entries(bytes: &[u8]) -> Vec<RawEntry> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some((entry, length)) = record(rest) {
        found.extend(entry);
        rest = &rest[length..];
    }
    found
}

/// The first record, unless it is one of the two dots, and its length.
fn record(bytes: &[u8]) -> Option<(Option<RawEntry>, usize)> {
    let inode = u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?);
    let length = bytes.get(LENGTH_AT..LENGTH_AT + 2)?.try_into().ok()?;
    let length = usize::from(u16::from_ne_bytes(length));
    let record = bytes.get(..length)?;
    let name = record.get(NAME_AT..)?;
    let name = &name[..memchr::memchr(0, name)?];
    if name == b"." || name == b".." {
        return Some((None, length));
    }
    // The kinds here are those of a mode, shifted.
    let kind = u32::from(record[KIND_AT]) << 12;
    let name = OsString::from_vec(name.to_vec());
    Some((Some(RawEntry { name, inode, kind }), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(bytes: &mut Vec<u8>, inode: u64, kind: u8, name: &[u8]) {
        let length = (NAME_AT + name.len() + 1).next_multiple_of(8);
        let start = bytes.len();
        bytes.extend(inode.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend((length as u16).to_ne_bytes());
        bytes.push(kind);
        bytes.extend(name);
        bytes.resize(start + length, 0);
    }

    #[test]
    fn names_of_any_bytes_are_taken_out_and_the_dots_left_out() {
        let mut bytes = Vec::new();
        push(&mut bytes, 1, 4, b".");
        push(&mut bytes, 2, 4, b"..");
        push(&mut bytes, 3, 8, b"\xff\xfe");
        push(&mut bytes, 4, 10, b"a link");
        let found = entries(&bytes);
        let names: Vec<_> = found.iter().map(|it| it.name.as_encoded_bytes()).collect();
        assert_eq!(names, [b"\xff\xfe".as_slice(), b"a link"]);
        assert_eq!(found[0].kind, libc::S_IFREG);
        assert_eq!((found[1].kind, found[1].inode), (libc::S_IFLNK, 4));
    }

    #[test]
    fn a_record_that_is_cut_off_ends_it_without_a_panic() {
        let mut bytes = Vec::new();
        push(&mut bytes, 3, 8, b"whole");
        push(&mut bytes, 4, 8, b"cut off");
        let whole = (NAME_AT + 6usize).next_multiple_of(8);
        for length in 0..bytes.len() {
            let found = entries(&bytes[..length]).len();
            assert_eq!(found, usize::from(length >= whole), "{length}");
        }
        // A length of zero would go on for ever.
        bytes[LENGTH_AT] = 0;
        assert_eq!(entries(&bytes).len(), 0);
    }
}
