//! One frame each way per stream: the length as four bytes, big-endian, then that many bytes. The
//! length is checked against the protocol's limit, and memory for it is set aside, before the body
//! is read.

use std::{io, sync::Arc};

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits;

#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of {size} bytes, at most {limit} are allowed")]
    TooLarge { size: usize, limit: usize },
    #[error("the stream broke off")]
    Broken(#[source] io::Error),
}

/// Memory that inbound frames may take, in units of [`Memory::UNIT`]: of one connection, and of the
/// whole node.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    connection: Arc<Semaphore>,
    node: Arc<Semaphore>,
}

/// Gives the memory back when dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    _connection: OwnedSemaphorePermit,
    _node: OwnedSemaphorePermit,
}

impl Memory {
    const UNIT: usize = 1024;

    /// A new connection's share of `node`.
    pub(super) fn of_connection(node: &Arc<Semaphore>) -> Self {
        let connection = limits::INBOUND_BYTES_PER_CONNECTION / Self::UNIT;
        Self { connection: Arc::new(Semaphore::new(connection)), node: Arc::clone(node) }
    }

    pub(super) fn of_node() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(limits::INBOUND_BYTES / Self::UNIT))
    }

    /// Waits until there is room. The connection's share comes first, so that one peer's queue
    /// never holds what others wait for.
    async fn reserve(&self, bytes: usize) -> Reserved {
        let units = bytes.div_ceil(Self::UNIT) as u32;
        let closed = "these semaphores are never closed";
        Reserved {
            _connection: Arc::clone(&self.connection)
                .acquire_many_owned(units)
                .await
                .expect(closed),
            _node: Arc::clone(&self.node).acquire_many_owned(units).await.expect(closed),
        }
    }
}

async fn read_length(io: &mut (impl AsyncRead + Unpin), limit: usize) -> Result<usize, FrameError> {
    let mut length = [0; 4];
    io.read_exact(&mut length).await.map_err(FrameError::Broken)?;
    let size = u32::from_be_bytes(length) as usize;
    if size > limit { Err(FrameError::TooLarge { size, limit }) } else { Ok(size) }
}

async fn read_body(io: &mut (impl AsyncRead + Unpin), size: usize) -> Result<Vec<u8>, FrameError> {
    // Grows with what arrives: a length alone costs the sender nothing.
    let mut body = Vec::with_capacity(size.min(16 * 1024));
    io.take(size as u64).read_to_end(&mut body).await.map_err(FrameError::Broken)?;
    if body.len() < size {
        return Err(FrameError::Broken(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(body)
}

/// Reads one frame of at most `limit` bytes.
pub(super) async fn read(
    io: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<Vec<u8>, FrameError> {
    let size = read_length(io, limit).await?;
    read_body(io, size).await
}

/// As [`read`], waiting for memory before the body is read.
pub(super) async fn read_within(
    io: &mut (impl AsyncRead + Unpin),
    limit: usize,
    memory: &Memory,
) -> Result<(Vec<u8>, Reserved), FrameError> {
    let size = read_length(io, limit).await?;
    let reserved = memory.reserve(size).await;
    Ok((read_body(io, size).await?, reserved))
}

/// Writes one frame and ends our half of the stream.
pub(super) async fn write_last(
    io: &mut (impl AsyncWrite + Unpin),
    body: &[u8],
    limit: usize,
) -> Result<(), FrameError> {
    let size = body.len();
    let length = (u32::try_from(size).ok().filter(|_| size <= limit))
        .ok_or(FrameError::TooLarge { size, limit })?;
    let write = async {
        io.write_all(&length.to_be_bytes()).await?;
        io.write_all(body).await?;
        io.close().await
    };
    write.await.map_err(FrameError::Broken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, io::Cursor};

    fn frame(length: u32, body: &[u8]) -> Cursor<Vec<u8>> {
        Cursor::new([&length.to_be_bytes()[..], body].concat())
    }

    #[test]
    fn a_frame_comes_back_as_written() {
        for body in [&b""[..], b"x", &[7; 70_000]] {
            let mut written = Cursor::new(Vec::new());
            write_last(&mut written, body, 70_000).now_or_never().unwrap().unwrap();
            let bytes = written.into_inner();
            assert_eq!(bytes[..4], (body.len() as u32).to_be_bytes());
            let read = read(&mut Cursor::new(bytes), 70_000).now_or_never().unwrap().unwrap();
            assert_eq!(read, body);
        }
    }

    #[test]
    fn too_long_is_refused_before_the_body() {
        let error = read(&mut frame(u32::MAX, b""), 10).now_or_never().unwrap().unwrap_err();
        assert!(matches!(error, FrameError::TooLarge { size: 0xffff_ffff, limit: 10 }));
        let mut written = Cursor::new(Vec::new());
        let error = write_last(&mut written, &[0; 11], 10).now_or_never().unwrap();
        assert!(matches!(error, Err(FrameError::TooLarge { .. })));
        assert!(written.into_inner().is_empty());
    }

    #[test]
    fn a_cut_frame_is_an_error_not_a_short_message() {
        let error = read(&mut frame(5, b"four"), 10).now_or_never().unwrap();
        assert!(matches!(error, Err(FrameError::Broken(_))));
        let error = read(&mut Cursor::new(vec![0, 0]), 10).now_or_never().unwrap();
        assert!(matches!(error, Err(FrameError::Broken(_))));
    }

    #[test]
    fn one_connection_cannot_take_the_memory_of_all() {
        let node = Memory::of_node();
        let (greedy, modest) = (Memory::of_connection(&node), Memory::of_connection(&node));
        let share = limits::INBOUND_BYTES_PER_CONNECTION;
        let held = greedy.reserve(share).now_or_never().expect("its own share");
        assert!(greedy.reserve(1).now_or_never().is_none(), "beyond its share");
        assert!(modest.reserve(share).now_or_never().is_some(), "another's share");
        drop(held);
        assert!(greedy.reserve(1).now_or_never().is_some(), "given back");
    }
}
