//! `dump`: a header in the layout of `cryptsetup luksDump`, and the ways in.

use atrest::volume::{Header, HeaderFormat};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::info::header_device;
use crate::devices::Access;
use crate::failure::{About, Failure, Result};
use crate::output::{Answer, Output, Text};
use crate::volumes::VolumeArgs;

#[derive(Args)]
pub struct Dump {
    #[command(flatten)]
    volume: VolumeArgs,
}

/// `dump`: the layout for people as lines, and each token as it is. `info` has the same for programs.
#[derive(Serialize, JsonSchema)]
pub struct Dumped {
    device: String,
    /// The lines of `cryptsetup luksDump`, and the ways in.
    lines: Vec<String>,
    /// The tokens as JSON, as the header has them.
    tokens: Vec<String>,
}

impl Answer for Dumped {
    fn text(&self, out: &mut Text) {
        self.lines.iter().for_each(|line| out.line(line));
    }
}

impl Dump {
    pub fn run(self, output: Output) -> Result<()> {
        let (device, name) = header_device(&self.volume, Access::Read)?;
        let header = Header::load(&device).about(name)?;
        if !matches!(header.format(), HeaderFormat::Luks(_)) {
            let text = format!("it is a volume of {}; `atrest info` shows it", header.format());
            return Err(Failure::usage(text).about(name));
        }
        output.answer(&Dumped {
            device: self.volume.device.clone(),
            lines: header.describe(name).lines().map(String::from).collect(),
            tokens: header.tokens().into_iter().map(|token| token.json).collect(),
        })
    }
}
