//! Past the page cache: what is misaligned is refused with its numbers, what is aligned is right.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;

use corio::Runtime;
use corio::fs::{self, AlignedBuffer, DirectFile, OpenOptions};

use super::Folder;
use super::support::{bounded, numbered, poll_once, until_stats};

/// Opens a file for reads and writes past the cache.
async fn open(path: &Path) -> Option<DirectFile> {
    let options = OpenOptions::new().read(true).write(true);
    match DirectFile::open_with(path, &options).await {
        Ok(file) => Some(file),
        // A file system in memory, or one of layers: it says so, which is all that is asked of it.
        Err(error) => {
            let kinds = [ErrorKind::Unsupported, ErrorKind::InvalidInput];
            assert!(kinds.contains(&error.kind()), "{error}");
            eprintln!("skipped: this file system has no O_DIRECT ({error})");
            None
        }
    }
}

#[corio::test]
async fn aligned_reads_and_writes_go_past_the_cache_and_others_are_refused() {
    let folder = Folder::new().await;
    let path = folder.join("blocks");
    fs::write(&path, numbered(0, 100_000)).await.unwrap();
    let Some(file) = open(&path).await else { return };
    let block = file.position_alignment();
    assert!(block.is_power_of_two() && file.memory_alignment().is_power_of_two());
    let (count, buffer) = file.read_at(0, file.buffer(4 * block)).await;
    let due = (4 * block).min(100_000);
    assert_eq!(count.unwrap(), due);
    assert!(buffer[..] == numbered(0, due)[..]);
    drop(buffer);
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

/// The addresses of as many buffers as a region has places of this size.
fn addresses(file: &DirectFile) -> BTreeSet<usize> {
    let buffers: Vec<_> = (0..64).map(|_| file.buffer(4096)).collect();
    buffers.iter().map(|buffer| buffer.as_ptr() as usize).collect()
}

#[corio::test]
async fn a_buffer_whose_read_or_write_was_dropped_comes_back_to_the_pool_and_not_before_its_end() {
    let folder = Folder::new().await;
    let path = folder.join("blocks");
    fs::write(&path, numbered(0, 1 << 20)).await.unwrap();
    let Some(file) = open(&path).await else { return };
    let before = corio::stats().operations_in_flight;
    let all = addresses(&file);
    assert_eq!(all.len(), 64);
    for polls in 0..4 {
        for round in 0..64 {
            let position = round * 4096;
            let mut buffer = file.buffer(4096);
            let taken = buffer.as_ptr() as usize;
            let mut attempt: std::pin::Pin<Box<dyn Future<Output = ()>>> = match round % 2 {
                0 => Box::pin(async { drop(file.read_at(position, buffer).await) }),
                _ => {
                    buffer.resize(4096);
                    buffer.copy_from_slice(&numbered(position, 4096));
                    Box::pin(async { drop(file.write_at(position, buffer).await) })
                }
            };
            let mut is_over = false;
            for poll in 0..polls {
                if poll > 0 {
                    corio::yield_now().await;
                }
                is_over = is_over || poll_once(attempt.as_mut()).is_some();
            }
            drop(attempt);
            // It was started, and no turn has gone by that could have seen its end.
            if polls == 1 && !is_over {
                let next = file.buffer(4096);
                assert_ne!(next.as_ptr() as usize, taken, "the kernel may still use it");
            }
        }
        until_stats(|stats| stats.operations_in_flight == before).await;
        assert_eq!(addresses(&file), all, "after {polls} polls");
    }
    assert!(std::fs::read(&path).unwrap() == numbered(0, 1 << 20));
}

#[corio::test]
async fn many_reads_at_once_and_more_than_the_pool_has_memory_for_are_right() {
    let folder = Folder::new().await;
    let path = folder.join("blocks");
    let length = 1 << 20;
    fs::write(&path, numbered(0, length)).await.unwrap();
    let Some(file) = open(&path).await else { return };
    let file = Rc::new(file);
    let tasks: Vec<_> = (0..80)
        .map(|number| {
            let file = Rc::clone(&file);
            // All of the pool's regions are of this size, and then the heap has to serve.
            let size = if number < 70 { 256 << 10 } else { 4096 };
            let position = number * 4096;
            corio::spawn(async move {
                let (count, buffer) = file.read_at(position, file.buffer(size)).await;
                let count = count.unwrap();
                assert_eq!(count, size.min(length - position as usize));
                assert!(buffer[..] == numbered(position, count)[..], "at {position}");
                buffer
            })
        })
        .collect();
    let mut kept = Vec::new();
    for task in tasks {
        kept.push(bounded(task).await.unwrap());
    }
    for (number, buffer) in kept.iter().enumerate() {
        assert!(buffer[..] == numbered(number as u64 * 4096, buffer.len())[..], "it is its own");
    }
}

#[corio::test]
async fn what_is_written_from_the_pool_and_from_the_heap_is_there() {
    let folder = Folder::new().await;
    let path = folder.join("blocks");
    fs::write(&path, vec![0; 1 << 20]).await.unwrap();
    let Some(file) = open(&path).await else { return };
    let sizes = [4096, 12_288, 256 << 10, 512 << 10];
    let mut position = 0;
    for size in sizes {
        let mut buffer = file.buffer(size);
        buffer.resize(size);
        buffer.copy_from_slice(&numbered(position, size));
        bounded(file.write_at(position, buffer)).await.0.unwrap();
        position += size as u64;
    }
    assert!(std::fs::read(&path).unwrap()[..position as usize] == numbered(0, position as usize));
}

#[test]
fn a_buffer_of_a_runtime_that_ended_serves_another_one() {
    let folder = corio::run(Folder::new());
    let path = folder.join("blocks");
    std::fs::write(&path, numbered(0, 8192)).unwrap();
    let runtime = Runtime::new().unwrap();
    let Some(buffer) = runtime.block_on(async { Some(open(&path).await?.buffer(4096)) }) else {
        return;
    };
    let report = runtime.close();
    assert_eq!(report.leaked_operations, 0);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(bounded(async {
        let file = open(&path).await.unwrap();
        // That of its own pool has the same number there.
        let own = file.buffer(4096);
        let (count, buffer) = file.read_at(4096, buffer).await;
        assert_eq!(count.unwrap(), 4096);
        assert!(buffer[..] == numbered(4096, 4096)[..]);
        let (count, own) = file.read_at(0, own).await;
        assert_eq!(count.unwrap(), 4096);
        assert!(own[..] == numbered(0, 4096)[..]);
    }));
}

#[test]
fn a_runtime_that_ends_with_reads_past_the_cache_in_flight_leaks_none() {
    let folder = corio::run(Folder::new());
    let path = folder.join("blocks");
    std::fs::write(&path, numbered(0, 1 << 20)).unwrap();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let Some(file) = open(&path).await else { return };
        for number in 0..64 {
            let mut read = Box::pin(file.read_at(number * 4096, file.buffer(4096)));
            assert!(poll_once(read.as_mut()).is_none());
            std::mem::forget(read);
        }
    });
    assert_eq!(runtime.close().leaked_operations, 0);
}
