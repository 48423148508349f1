//! A re-encryption in a LUKS2 header: its beginning, its progress and its end.

use super::moving::starts_at_zero;
use super::store::Luks2Store;
use crate::ondisk::luks::{
    Direction, Mode, Plan, Resilience, Segment, SegmentKind, SegmentSize, Token, VolumeKeyDigest,
};
use crate::volume::BlockDevice;
use crate::volume::headers::area::write_area;
use crate::volume::headers::{FirstProtector, NewDecryption, NewEncryption, NewKey, NewReencryption};
use crate::volume::moving::Moving;
use crate::{Dek, Error, Result, random};

/// The parts of new keyslots outside the header.
#[derive(Default)]
struct NewAreas {
    /// The first byte of each area on the device, its content, and its size in bytes.
    areas: Vec<(u64, Vec<u8>, u64)>,
    /// The keyslots that tokens are to name.
    of_tokens: Vec<u32>,
}

impl Luks2Store {
    /// Records that a re-encryption begins. The areas of new keyslots are written first.
    pub(super) fn begin_reencryption(&mut self, device: &dyn BlockDevice, new: NewReencryption<'_>) -> Result<Plan> {
        self.check_requirements()?;
        self.check_unchanged(device)?;
        let (data, old_digest) = self.whole()?;
        let mut header = self.clone();
        let digest = VolumeKeyDigest::new(new.key.dek.secret(), random::array()?)?;
        let digest = header.metadata.add_digest(&digest)?;
        let areas = header.add_key(&new.key, digest)?;
        let last = Segment { kind: SegmentKind::Crypt(new.last), ..data.clone() };
        let plan = header.plan(&new.resilience, Mode::Reencrypt, Direction::Forward, [data, last])?;
        let plan = Plan { old: Some(old_digest), new: Some(digest), ..plan };
        let moving = Moving { plan, boundary: 0, hot: None };
        let keys = (Some(new.old), Some(new.key.dek.secret()));
        header.metadata.begin(&moving.plan, &moving.segments(new.size), keys, random::array()?)?;
        header.metadata.remove_previous_key()?;
        header.metadata.add_previous_key(new.key.dek, new.old)?;
        header.put_new_tokens(&new.key, &areas.of_tokens)?;
        header.check_room_for_steps(&moving.plan, new.size)?;
        self.put(device, header, areas.areas)?;
        Ok(moving.plan)
    }

    /// Writes the header of plain data that is to be encrypted in place. `self` is of the encrypted volume, and on no device
    /// yet.
    pub(super) fn store_encryption(
        &mut self,
        device: &dyn BlockDevice,
        dek: &Dek,
        protector: FirstProtector<'_>,
        new: NewEncryption,
    ) -> Result<()> {
        let key = match protector {
            FirstProtector::Token(token) => NewKey { dek, keyslots: Vec::new(), tokens: vec![token] },
            FirstProtector::Keyslot(keyslot) => NewKey { dek, keyslots: vec![keyslot], tokens: Vec::new() },
        };
        let (last, digest) = self.whole()?;
        let areas = self.add_key(&key, digest)?;
        let linear = Segment { kind: SegmentKind::Other("linear".into()), ..last.clone() };
        let moved =
            new.moved.map(|(offset, size)| Segment { offset, size: SegmentSize::Bytes(size), ..linear.clone() });
        let (previous, direction) = match &moved {
            Some(_) => (Segment { offset: 0, size: SegmentSize::Bytes(new.size), ..linear }, Direction::Backward),
            None => (linear, Direction::Forward),
        };
        let mut plan = self.plan(&new.resilience, Mode::Encrypt, direction, [previous, last])?;
        if moved.is_some() {
            // The area stays empty: a crash is recovered from the data that was not moved yet.
            plan.area.size = 4096;
        }
        let plan = Plan { moved, new: Some(digest), ..plan };
        let moving = Moving { boundary: plan.first(new.size), hot: None, plan };
        let keys = (None, Some(dek.secret()));
        self.metadata.begin(&moving.plan, &moving.segments(new.size), keys, random::array()?)?;
        self.put_new_tokens(&key, &areas.of_tokens)?;
        self.check_room_for_steps(&moving.plan, new.size)?;
        for (offset, area, size) in areas.areas {
            write_area(device, offset, area, size)?;
        }
        self.store(device)
    }

    /// Records that a decryption in place begins. It goes from the last sectors to the first unless data is moved to the start of
    /// the device, which is the order of the reference implementation.
    pub(super) fn begin_decryption(&mut self, device: &dyn BlockDevice, dek: &Dek, new: NewDecryption) -> Result<Plan> {
        self.check_requirements()?;
        self.check_unchanged(device)?;
        let tokens = self.genuine(dek)?;
        let (previous, digest) = self.whole()?;
        let mut last = Segment { kind: SegmentKind::Other("linear".into()), ..previous.clone() };
        let (mut resilience, mut moved, mut direction) = (new.resilience, None, Direction::Backward);
        if new.moved > 0 {
            last.offset = 0;
            resilience = Resilience::Shift { size: previous.offset, moved: Some(Box::new(resilience)) };
            moved = Some(Segment { offset: 0, size: SegmentSize::Bytes(new.moved), ..previous.clone() });
            direction = Direction::Forward;
        }
        let plan = self.plan(&resilience, Mode::Decrypt, direction, [previous, last])?;
        let plan = Plan { moved, old: Some(digest), ..plan };
        let moving = Moving { boundary: plan.first(new.size), hot: None, plan };
        let mut header = self.clone();
        let keys = (Some(dek.secret()), None);
        header.metadata.begin(&moving.plan, &moving.segments(new.size), keys, random::array()?)?;
        header.seal(dek, tokens);
        header.check_room_for_steps(&moving.plan, new.size)?;
        self.put(device, header, Vec::new())?;
        Ok(moving.plan)
    }

    /// The only segment, with its digest.
    fn whole(&self) -> Result<(Segment, u32)> {
        let no = |text: &str| Err(Error::UnsupportedHeader(text.into()));
        let [data] = self.metadata.segments() else { return no("a volume of several segments can't be re-encrypted") };
        if !starts_at_zero(data) {
            return no("a volume whose first sector isn't number 0 can't be re-encrypted");
        }
        let digest = self.metadata.digests().iter().find(|digest| digest.segments.contains(&data.id));
        match digest {
            Some(digest) => Ok((data.clone(), digest.id)),
            None => no("no digest proves its key"),
        }
    }

    /// Refuses a re-encryption that couldn't go on for lack of room: while a zone is rewritten, the header is larger than before.
    fn check_room_for_steps(&self, plan: &Plan, size: u64) -> Result<()> {
        if plan.moved.is_some() && plan.mode == Mode::Encrypt {
            // It is a new header, which has room. Its numbers have to fit the device.
            return self.metadata.encode(self.binary.header_size).map(drop);
        }
        // Three parts, each as large as the volume or larger, so that no number of a step has more digits.
        let part = size.saturating_mul(4).clamp(4096 * 3, 1 << 60) / 3 / 4096 * 4096;
        // The moved data is one part more.
        let from = part + plan.moved_size();
        let most = Moving { plan: plan.clone(), boundary: from, hot: Some(from..from + part) };
        let mut metadata = self.metadata.clone();
        metadata.set_segments(plan, &most.segments(from + 2 * part))?;
        metadata.encode(self.binary.header_size).map(drop)
    }

    /// Binds new keyslots to a digest. The areas are still to be written.
    fn add_key(&mut self, key: &NewKey<'_>, digest: u32) -> Result<NewAreas> {
        let mut new = NewAreas::default();
        for keyslot in &key.keyslots {
            let of_tokens = keyslot.of_tokens;
            let (keyslot, area) = self.sealed_keyslot(key.dek.secret(), keyslot)?;
            self.metadata.set_keyslot(&keyslot, digest)?;
            new.areas.push((keyslot.area.offset, area, keyslot.area.size));
            new.of_tokens.extend(of_tokens.then_some(keyslot.id));
        }
        Ok(new)
    }

    /// Replaces all our tokens, because those of the old key open nothing any more. The new ones name `keyslots`.
    fn put_new_tokens(&mut self, key: &NewKey<'_>, keyslots: &[u32]) -> Result<()> {
        for (id, _) in self.metadata.tokens()? {
            self.metadata.remove_token(id)?;
        }
        for token in &key.tokens {
            let full = || Error::NoRoom("all 32 tokens are taken".into());
            let id = self.metadata.free_token_id().ok_or_else(full)?;
            self.seal_naming(key.dek, [(id, token.clone())], keyslots);
        }
        Ok(())
    }

    fn plan(
        &self,
        resilience: &Resilience,
        mode: Mode,
        direction: Direction,
        [previous, last]: [Segment; 2],
    ) -> Result<Plan> {
        let area = self.metadata.largest_free_area();
        let full = |what: &str| Error::NoRoom(format!("the header has no room for {what} of a re-encryption"));
        let keyslot = self.metadata.free_keyslot_id().ok_or_else(|| full("the keyslot"))?;
        if area.size == 0 {
            return Err(full("the area"));
        }
        let resilience = resilience.clone();
        Ok(Plan { keyslot, mode, direction, resilience, area, previous, last, moved: None, old: None, new: None })
    }

    /// Writes areas, and then the header that names them.
    fn put(&mut self, device: &dyn BlockDevice, header: Self, areas: Vec<(u64, Vec<u8>, u64)>) -> Result<()> {
        header.metadata.encode(header.binary.header_size)?;
        // A failed earlier attempt may have left a header whose only ways in are in these areas.
        self.settle(device)?;
        self.later(1)?;
        for (offset, area, size) in areas {
            write_area(device, offset, area, size)?;
        }
        self.update(device, |new| {
            new.metadata = header.metadata;
            Ok(())
        })
    }

    /// Records how far a re-encryption is. The tokens of an owner of the key are sealed again.
    pub(super) fn record_progress(
        &mut self,
        device: &dyn BlockDevice,
        dek: &Dek,
        moving: &Moving,
        size: u64,
    ) -> Result<()> {
        let tokens = self.genuine(dek)?;
        self.update(device, |header| {
            header.metadata.set_segments(&moving.plan, &moving.segments(size))?;
            header.seal(dek, tokens);
            Ok(())
        })
    }

    /// Records how the plan recovers the re-encryption from a crash. `old` is the old key, if it is another.
    pub(super) fn set_resilience(
        &mut self,
        device: &dyn BlockDevice,
        dek: &Dek,
        plan: &Plan,
        old: Option<&Dek>,
    ) -> Result<()> {
        let tokens = self.genuine(dek)?;
        let key = dek.secret();
        let keys = match plan.mode {
            Mode::Encrypt => (None, Some(key)),
            Mode::Decrypt => (Some(key), None),
            Mode::Reencrypt => (Some(old.map_or(key, Dek::secret)), Some(key)),
        };
        let salt = random::array()?;
        self.update(device, |header| {
            header.metadata.set_resilience(plan, keys, salt)?;
            header.seal(dek, tokens);
            Ok(())
        })
    }

    /// Records the end of a re-encryption, and wipes the areas that only it used.
    pub(super) fn finish_reencryption(&mut self, device: &dyn BlockDevice, dek: &Dek, plan: &Plan) -> Result<()> {
        let tokens = self.genuine(dek)?;
        self.later(3)?;
        self.update(device, |header| {
            header.metadata.finish(plan, plan.done())?;
            header.metadata.remove_previous_key()?;
            header.seal(dek, tokens);
            Ok(())
        })?;
        self.finish_wiping(device)
    }

    pub(super) fn genuine(&self, dek: &Dek) -> Result<Vec<(u32, Token)>> {
        let is_genuine = |token: &Token| token.verify(dek, &self.binary.uuid, &self.metadata).is_ok();
        Ok(self.metadata.tokens()?.into_iter().filter(|(_, token)| is_genuine(token)).collect())
    }
}
