//! A dump compressed as a whole (`.zst`, `.gz`, `.xz`, `.bz2`): unpacked into a temporary file without a name.

use crate::progress::{Progress, Step};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;

/// Why unpacking stopped.
pub(super) enum Failure {
    Io(io::Error),
    TooLarge(u64),
}

/// What is read of the packed file at once.
const BUFFER: usize = 128 << 10;

/// The unpacked file; none when the file is not packed. What comes before damage in the packed stream is
/// kept.
pub(super) fn unpack(packed: &File, limit: u64, progress: &Progress) -> Result<Option<File>, Failure> {
    let mut magic = [0; 6];
    let have = packed.read_at(&mut magic, 0).map_err(Failure::Io)?;
    let bytes = BufReader::with_capacity(BUFFER, packed);
    let mut stream: Box<dyn Read + '_> = match &magic[..have] {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Box::new(zstd::stream::read::Decoder::with_buffer(bytes).map_err(Failure::Io)?)
        }
        [0x1f, 0x8b, 8, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Box::new(lzma_rust2::XzReader::new(bytes, true)),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41] => Box::new(crate::bzip2::Decoder::new(bytes)),
        _ => return Ok(None),
    };
    progress.begin(Step::Unpacking, packed.metadata().map_err(Failure::Io)?.len());
    let mut file = unnamed().map_err(Failure::Io)?;
    let mut chunk = vec![0; BUFFER];
    let mut written = 0_u64;
    loop {
        let length = match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // A packed dump that was cut is worth what it holds up to there.
            Err(_) if written > 0 => break,
            Err(error) => return Err(Failure::Io(error)),
        };
        written += length as u64;
        let mut packed = packed;
        progress.reach(packed.stream_position().map_err(Failure::Io)?);
        if written > limit {
            return Err(Failure::TooLarge(limit));
        }
        io::Write::write_all(&mut file, &chunk[..length]).map_err(Failure::Io)?;
    }
    Ok(Some(file))
}

fn unnamed() -> io::Result<File> {
    use nix::fcntl::{OFlag, open};
    use nix::sys::stat::Mode;
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_EXCL;
    Ok(File::from(open(&std::env::temp_dir(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?))
}
