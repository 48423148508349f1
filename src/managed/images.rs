//! Images: copies of disks, in one region or in several (49).

use super::copy::{CopyProgress, Target};
use super::making::Made;
use super::records::{Resource, ResourceKind, ResourceName, check_name};
use super::service::{DiskService, not_allowed};
use crate::error::Rule;
use crate::{Error, Result};

/// An image that is to be made: a copy of each of some disks in each of some regions.
#[derive(Debug, Clone)]
pub struct NewImage {
    name: String,
    disks: Vec<String>,
    regions: Vec<ImageRegion>,
}

/// A region of an image, and its sets there, one or none for each disk.
#[derive(Debug, Clone)]
struct ImageRegion {
    region: String,
    sets: Vec<Option<String>>,
}

impl NewImage {
    /// An image with a name that no other has. It needs a disk and a region, at least.
    pub fn new(name: impl Into<String>) -> Self {
        NewImage { name: name.into(), disks: Vec::new(), regions: Vec::new() }
    }

    /// One more disk.
    pub fn disk(mut self, name: impl Into<String>) -> Self {
        self.disks.push(name.into());
        self
    }

    /// One more region, with the set of that region for the copy of each disk, in the order of the disks; `None` for the
    /// platform's key (49).
    pub fn region<'a>(mut self, region: impl Into<String>, sets: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let sets = sets.into_iter().map(|set| set.map(String::from)).collect();
        self.regions.push(ImageRegion { region: region.into(), sets });
        self
    }
}

impl DiskService {
    /// Makes an image: of each disk a copy in each region, with a DEK of its own, all of what the disk held at one instant.
    ///
    /// # Errors
    /// [`Error::ResourceExists`]; [`Error::NoSuchResource`]; [`Error::NotAllowed`] unless there is one set for each region and
    /// disk, in that region (49), and for a copy under the platform's key of a disk under a customer's (50); otherwise as
    /// [`create_snapshot`](Self::create_snapshot). On failure nothing is left behind.
    pub fn create_image(&self, new: &NewImage, progress: &dyn Fn(CopyProgress)) -> Result<Vec<Resource>> {
        check_name(&new.name)?;
        // Before any work; what counts is the look when it is added.
        if !self.inner.store.image(&new.name)?.is_empty() {
            return Err(exists(&new.name));
        }
        let mut made = Vec::new();
        for (disk, copies) in self.plan(new)? {
            let first = made.len();
            for copy in copies {
                let size = disk.size;
                let prepared = self.inner.prepare(copy, |layers| match made.get(first) {
                    None => self.inner.copy_disk(&disk, Target::whole(layers, size), progress),
                    // What the first copy holds the others hold too, though the disk goes on.
                    Some(Made { layers: first, .. }) => {
                        let target = Target::whole(layers, size);
                        target.fill(progress, |offset, bytes| first.read_at(offset, bytes))?;
                        target.finish()
                    }
                });
                match prepared {
                    Ok(prepared) => made.push(prepared),
                    Err(e) => {
                        made.into_iter().for_each(|made| self.inner.discard(made));
                        return Err(e);
                    }
                }
            }
        }
        self.inner.commit(made, |tables| if tables.has_image(&new.name)? { Err(exists(&new.name)) } else { Ok(()) })?;
        self.image(&new.name)
    }

    /// The copies that an image is made of, by region and number of the disk.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`].
    pub fn image(&self, name: &str) -> Result<Vec<Resource>> {
        let mut copies = self.inner.store.image(name)?;
        let number = |copy: &Resource| copy.name.rsplit('/').next().and_then(|number| number.parse::<usize>().ok());
        copies.sort_by(|a, b| (&a.region, number(a)).cmp(&(&b.region, number(b))));
        if copies.is_empty() {
            return Err(Error::NoSuchResource(format!("there is no image {name:?}")));
        }
        Ok(copies)
    }

    /// Removes an image, all copies of it.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::Busy`] while a copy of it is made; [`Error::Io`], after which the image is gone, and what is left of its copies is removed when
    /// the service is opened next.
    pub fn delete_image(&self, name: &str) -> Result<()> {
        self.inner.remove(&self.image(name)?)
    }

    /// For each disk, the copies that are to be made of it.
    fn plan(&self, new: &NewImage) -> Result<Vec<(Resource, Vec<Resource>)>> {
        if new.disks.is_empty() || new.regions.is_empty() {
            return Err(Error::InvalidOption("an image has at least one disk and one region".into()));
        }
        if new.regions.iter().any(|region| region.sets.len() != new.disks.len()) {
            return not_allowed(
                Rule::ImageIsWhole,
                "an image has one set, or none, for each region and each disk; name as many as it has disks",
            );
        }
        let plan_disk = |(number, disk): (usize, &String)| {
            let from = self.inner.store.resource(&ResourceName::disk(disk))?;
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
                    ..self.inner.copy_of(&from)?
                };
                self.inner.in_set(copy, set)
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
