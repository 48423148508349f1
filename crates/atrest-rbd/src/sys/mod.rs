//! The C libraries of Ceph behind safe types. All unsafe code of the crate is here.

mod api;
mod cluster;
pub(crate) mod errno;
pub(crate) mod feature;
mod image;
mod operation;

pub(crate) use cluster::{Cluster, Pool};
pub(crate) use errno::Errno;
pub(crate) use image::{Image, NewImage};
pub(crate) use operation::Operation;
