//! Volumes of the model on devices that tests look into.

use std::sync::Arc;

use atrest::volume::{Header, KeyslotOptions};
use atrest::{Credential, OpenOptions, Result, Volume};

use super::common::device::TestDevice;
use super::model::{self, AREA, Model};

pub fn options() -> KeyslotOptions {
    KeyslotOptions::new()
}

pub fn device(model: &Model) -> Arc<TestDevice> {
    Arc::new(TestDevice::new(model.image(&model::plain(), |_| true)))
}

pub fn open(device: &Arc<TestDevice>, credential: Credential<'_>) -> Result<Volume<Arc<TestDevice>>> {
    Volume::open(device.clone(), credential, &OpenOptions::new())
}

pub fn kinds(device: &Arc<TestDevice>) -> Vec<String> {
    Header::load(device).unwrap().keyslots().into_iter().map(|keyslot| keyslot.kind).collect()
}

pub fn copies_are_the_same(model: &Model, image: &[u8]) -> bool {
    let copy = |i: usize| &image[model.copies[i] as usize..][..AREA];
    copy(0) == copy(1) && copy(1) == copy(2)
}
