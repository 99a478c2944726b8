//! What the doctor found, noted in the spool by the half of the agent that may look, for the half that may tell.

use std::path::Path;

use handover::readiness::Readiness;
use handover::{BootId, limits};

use crate::disk::{self, Disk};
use crate::error::{Doing, Error};

/// Name of the file in the spool; it is there until it was told.
const FILE: &str = "readiness.json";

/// Notes it, in place of what was noted before.
pub fn note(disk: &dyn Disk, spool: &Path, readiness: &Readiness) -> Result<(), Error> {
    let path = spool.join(FILE);
    let bytes = serde_json::to_vec(readiness).expect("findings are texts and numbers");
    // Not in tmp/, which is emptied by another run that starts in this moment.
    disk::write_whole(disk, &spool.join("readiness.tmp"), &path, &bytes).doing("writing", &path)
}

/// What is noted of a boot and was not told. What was found in an earlier boot holds no more.
pub fn noted(disk: &dyn Disk, spool: &Path, boot: BootId) -> Option<Readiness> {
    let contents = disk.read(&spool.join(FILE), limits::STATE as u64).ok()?;
    Readiness::read(&contents.bytes).ok().filter(|readiness| readiness.boot_id == boot)
}

/// It was told. One that was noted meanwhile goes too; the next is not far, and findings hold for an hour.
pub fn told(disk: &dyn Disk, spool: &Path) -> Result<(), Error> {
    let path = spool.join(FILE);
    disk.unlink(&path).doing("removing", &path)
}
