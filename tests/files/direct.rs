//! Past the page cache: what is misaligned is refused with its numbers, what is aligned is right.

use std::io::ErrorKind;

use corio::fs::{self, AlignedBuffer, DirectFile, OpenOptions};

use super::Folder;
use super::support::numbered;

#[corio::test]
async fn aligned_reads_and_writes_go_past_the_cache_and_others_are_refused() {
    let folder = Folder::new().await;
    let path = folder.join("blocks");
    fs::write(&path, numbered(0, 100_000)).await.unwrap();
    let options = OpenOptions::new().read(true).write(true);
    let file = match DirectFile::open_with(&path, &options).await {
        Ok(file) => file,
        // A file system in memory, or one of layers: it says so, which is all that is asked of it.
        Err(error) => {
            let kinds = [ErrorKind::Unsupported, ErrorKind::InvalidInput];
            assert!(kinds.contains(&error.kind()), "{error}");
            eprintln!("skipped: this file system has no O_DIRECT ({error})");
            return;
        }
    };
    let block = file.position_alignment();
    assert!(block.is_power_of_two() && file.memory_alignment().is_power_of_two());
    let (count, buffer) = file.read_at(0, file.buffer(4 * block)).await;
    let due = (4 * block).min(100_000);
    assert_eq!(count.unwrap(), due);
    assert!(buffer[..] == numbered(0, due)[..]);
    file.recycle(buffer);
    let last = (100_000 / block * block) as u64;
    let (count, mut buffer) = file.read_at(last, file.buffer(4 * block)).await;
    assert_eq!(count.unwrap() as u64, 100_000 - last, "the file ends there");
    buffer.resize(block);
    buffer.fill(7);
    let (result, buffer) = file.write_at(0, buffer).await;
    result.unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[..block], vec![7; block]);
    for (position, what) in [(1, "position"), (block as u64 - 1, "position")] {
        let (result, _) = file.read_at(position, file.buffer(block)).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(what) && error.to_string().contains("cure"), "{error}");
    }
    let short = AlignedBuffer::new(block + 1, block.max(file.memory_alignment()));
    let (result, short) = file.read_at(0, short).await;
    assert!(result.unwrap_err().to_string().contains("length"));
    assert_eq!(short.capacity(), block + 1, "refused memory comes back");
    let mut odd = buffer;
    odd.resize(block - 1);
    assert!(file.write_at(0, odd).await.0.unwrap_err().to_string().contains("length"));
}

#[corio::test]
async fn an_aligned_buffer_is_where_it_should_be() {
    for alignment in [1, 512, 4_096, 1 << 16] {
        let mut buffer = AlignedBuffer::new(10_000, alignment);
        assert!((buffer.as_ptr() as usize).is_multiple_of(alignment));
        assert!(buffer.is_empty());
        buffer.resize(10_000);
        assert!(buffer.iter().all(|byte| *byte == 0));
    }
}
