//! Images: copies of disks, in one region or in several (49).

use super::copy::{CopyProgress, Target};
use super::making::Made;
use super::records::{Resource, ResourceKind, ResourceName, check_name};
use super::service::{DiskService, not_allowed};
use crate::error::Rule;
use crate::{Error, Result};

/// Options for a new image: a copy of each given disk in each given region.
#[derive(Debug, Clone)]
pub struct NewImage {
    name: String,
    disks: Vec<String>,
    regions: Vec<ImageRegion>,
}

/// A region of an image, and one set or `None` for each disk.
#[derive(Debug, Clone)]
struct ImageRegion {
    region: String,
    sets: Vec<Option<String>>,
}

impl NewImage {
    /// An image with a name that no other image has. It needs at least one disk and one region.
    pub fn new(name: impl Into<String>) -> Self {
        NewImage { name: name.into(), disks: Vec::new(), regions: Vec::new() }
    }

    /// Adds a disk.
    pub fn disk(mut self, name: impl Into<String>) -> Self {
        self.disks.push(name.into());
        self
    }

    /// Adds a region, with the set for each disk's copy there, in the order of the disks; `None` for the platform's key
    /// (49).
    pub fn region<'a>(mut self, region: impl Into<String>, sets: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let sets = sets.into_iter().map(|set| set.map(String::from)).collect();
        self.regions.push(ImageRegion { region: region.into(), sets });
        self
    }
}

impl DiskService {
    /// Makes an image: a copy of each disk in each region, with its own DEK. All copies of a disk have its content at
    /// one instant.
    ///
    /// # Errors
    /// [`Error::ResourceExists`]; [`Error::NoSuchResource`]; [`Error::NotAllowed`] unless each region has one set or
    /// `None` for each disk, in that region (49), and for a copy under the platform's key of a disk under a customer's
    /// (50); otherwise as [`create_snapshot`](Self::create_snapshot). On failure nothing is left behind.
    pub fn create_image(&self, new: &NewImage, progress: &dyn Fn(CopyProgress)) -> Result<Vec<Resource>> {
        let inner = self.inner()?;
        check_name(&new.name)?;
        // Check before any work. The check when it is added decides.
        if !inner.store.image(&new.name)?.is_empty() {
            return Err(exists(&new.name));
        }
        let mut made = Vec::new();
        for (disk, copies) in self.plan(new)? {
            let first = made.len();
            for copy in copies {
                let size = disk.size;
                let prepared = inner.prepare(copy, |layers| match made.get(first) {
                    None => inner.copy_disk(&disk, Target::whole(layers, size), progress),
                    // The other copies copy the first one, because the disk may have changed since.
                    Some(Made { layers: first, .. }) => {
                        let target = Target::whole(layers, size);
                        target.fill(progress, |offset, bytes| first.read_at(offset, bytes))?;
                        target.finish()
                    }
                });
                match prepared {
                    Ok(prepared) => made.push(prepared),
                    Err(e) => {
                        made.into_iter().for_each(|made| inner.discard(made));
                        return Err(e);
                    }
                }
            }
        }
        inner.commit(made, |tables| tables.claim_image(&new.name))?;
        self.image(&new.name)
    }

    /// The copies of an image, ordered by region and number of the disk.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`].
    pub fn image(&self, name: &str) -> Result<Vec<Resource>> {
        let mut copies = self.inner()?.store.image(name)?;
        let number = |copy: &Resource| copy.name.rsplit('/').next().and_then(|number| number.parse::<usize>().ok());
        copies.sort_by(|a, b| (&a.region, number(a)).cmp(&(&b.region, number(b))));
        if copies.is_empty() {
            return Err(Error::NoSuchResource(format!("there is no image {name:?}")));
        }
        Ok(copies)
    }

    /// Removes an image with all its copies.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::Busy`] while one of its copies is being copied; [`Error::Io`]: then the
    /// image is gone, and the remains of its copies are removed when the service is opened next.
    pub fn delete_image(&self, name: &str) -> Result<()> {
        self.inner()?.remove(&self.image(name)?)
    }

    /// The copies to make of each disk.
    fn plan(&self, new: &NewImage) -> Result<Vec<(Resource, Vec<Resource>)>> {
        let inner = self.inner()?;
        if new.disks.is_empty() || new.regions.is_empty() {
            return Err(Error::InvalidOption("an image has at least one disk and one region".into()));
        }
        if new.regions.iter().any(|region| region.sets.len() != new.disks.len()) {
            return not_allowed(
                Rule::ImageIsWhole,
                "an image has one set or none for each disk in each region; name as many sets as it has disks",
            );
        }
        let plan_disk = |(number, disk): (usize, &String)| {
            let from = inner.store.resource(&ResourceName::disk(disk))?;
            let copy = |region: &ImageRegion| {
                let set = region.sets[number].as_deref();
                if from.set.is_some() && set.is_none() {
                    let text =
                        "an image of a disk under a customer's key can't be under the platform's; name a set for it";
                    return not_allowed(Rule::ImageStaysUnderCustomerKey, text);
                }
                check_name(&region.region)?;
                let name = ResourceName::image(&new.name, &region.region, number).name;
                let copy = Resource {
                    kind: ResourceKind::Image,
                    name,
                    region: region.region.clone(),
                    ..inner.copy_of(&from)?
                };
                inner.in_set(copy, set)
            };
            let copies = new.regions.iter().map(copy).collect::<Result<Vec<_>>>()?;
            Ok((from, copies))
        };
        new.disks.iter().enumerate().map(plan_disk).collect()
    }
}

fn exists(image: &str) -> Error {
    Error::ResourceExists(format!("there is an image {image:?} already"))
}
