//! Hosts that share a store: one disk is open on one of them, and what a lost host leaves another one finishes or undoes.

mod attachments;
mod caches;
mod deaths;
mod moving;
mod operations;
mod parts;
mod replaced;
mod rotation;
mod scale;
mod shared_work;
mod simulation;
mod two_hosts;
mod view;
mod waiting;
mod world;
