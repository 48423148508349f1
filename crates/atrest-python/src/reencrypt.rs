//! Re-encryption, and encryption and decryption in place.

use core::ops::ControlFlow;
use std::sync::PoisonError;

use atrest::volume::ReencryptOptions;
use pyo3::prelude::*;

use crate::credential::Protection;
use crate::device::Device;
use crate::error::{freely, raised};
use crate::options::{ReencryptChoices, resilience};
use crate::records;
use crate::volume::Volume;

type Record = PyResult<Py<PyAny>>;

#[pymethods]
impl Volume {
    /// Begins to re-encrypt the volume under a new DEK, which the protectors open. It stays usable meanwhile.
    #[pyo3(signature = (protectors, options = None))]
    fn begin_reencryption(
        &self,
        py: Python<'_>,
        protectors: Vec<Protection>,
        options: Option<ReencryptChoices>,
    ) -> PyResult<()> {
        let opened = self.opened()?;
        let options = options.map_or_else(|| Ok(ReencryptOptions::new()), |choices| choices.options(py))?;
        freely(py, || {
            let protectors = protectors.iter().map(Protection::protector).collect::<atrest::Result<Vec<_>>>()?;
            let _alone = opened.sectors.write().unwrap_or_else(PoisonError::into_inner);
            opened.volume.begin_reencryption(&protectors, &options)
        })
    }

    /// Begins to decrypt the volume in place. Its header must be detached.
    #[pyo3(signature = (resilience = "checksum"))]
    fn begin_decryption(&self, py: Python<'_>, resilience: &str) -> PyResult<()> {
        let (opened, resilience) = (self.opened()?, self::resilience(resilience)?);
        freely(py, || opened.volume.begin_decryption(resilience))
    }

    /// Begins to decrypt a volume with an attached header, which moves to the device `beside` for that time.
    #[pyo3(signature = (beside, resilience = "checksum"))]
    fn begin_decryption_beside(&self, py: Python<'_>, beside: &Device, resilience: &str) -> PyResult<()> {
        let (opened, resilience, beside) = (self.opened()?, self::resilience(resilience)?, beside.device()?);
        freely(py, || opened.volume.begin_decryption_beside(beside, resilience))
    }

    /// The progress of a re-encryption, encryption or decryption; `None` if there is none.
    fn reencryption(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let opened = self.opened()?;
        let progress = py.detach(|| opened.volume.reencryption());
        progress.map(|progress| records::progress(py, progress)).transpose()
    }

    /// Re-encrypts about `budget` bytes.
    fn reencrypt_step(&self, py: Python<'_>, budget: u64) -> Record {
        let opened = self.opened()?;
        let progress = freely(py, || opened.volume.reencrypt_step(budget))?;
        records::progress(py, progress)
    }

    /// Re-encrypts until it is finished, or until `progress` returns False. That is called after each zone of up to 16 MiB, and
    /// may raise: the volume then goes on another time. So it does after KeyboardInterrupt.
    #[pyo3(signature = (progress = None))]
    fn reencrypt(&self, py: Python<'_>, progress: Option<Py<PyAny>>) -> Record {
        let opened = self.opened()?;
        let mut raised_by_python = None;
        let tell = |told: &_| {
            Python::attach(|py| {
                py.check_signals()?;
                let Some(progress) = &progress else { return Ok(true) };
                let answer = progress.bind(py).call1((records::progress(py, *told)?,))?;
                if answer.is_none() { Ok(true) } else { answer.is_truthy() }
            })
        };
        let reached = py.detach(|| {
            opened.volume.reencrypt(|told| match tell(told) {
                Ok(true) => ControlFlow::Continue(()),
                Ok(false) => ControlFlow::Break(()),
                Err(error) => {
                    raised_by_python = Some(error);
                    ControlFlow::Break(())
                }
            })
        });
        if let Some(error) = raised_by_python {
            return Err(error);
        }
        records::progress(py, reached.map_err(|error| raised(py, &error))?)
    }
}
