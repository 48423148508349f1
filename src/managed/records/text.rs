//! Writes keys and types as text in a record.

pub(super) mod url {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::key::KeyId;

    pub(in crate::managed::records) fn serialize<S: Serializer>(id: &KeyId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(in crate::managed::records) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<KeyId, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

pub(super) mod fingerprints {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::key::Fingerprint;

    pub(in crate::managed::records) fn serialize<S: Serializer>(all: &[Fingerprint], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(all.iter().map(Fingerprint::to_string))
    }

    pub(in crate::managed::records) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Fingerprint>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

pub(super) mod fingerprint {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    use crate::key::Fingerprint;

    pub(in crate::managed::records) fn serialize<S: Serializer>(
        one: &Option<Fingerprint>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        one.as_ref().map(Fingerprint::to_string).serialize(to)
    }

    pub(in crate::managed::records) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Fingerprint>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

pub(super) mod urls {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::key::KeyId;

    pub(in crate::managed::records) fn serialize<S: Serializer>(ids: &[KeyId], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(ids.iter().map(KeyId::to_string))
    }

    pub(in crate::managed::records) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<KeyId>, D::Error> {
        let urls = Vec::<String>::deserialize(from)?;
        urls.iter().map(|url| url.parse().map_err(D::Error::custom)).collect()
    }
}

pub(super) mod type_name {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::key::EncryptionType;

    pub(in crate::managed::records) fn serialize<S: Serializer>(
        kind: &EncryptionType,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(kind.name())
    }

    pub(in crate::managed::records) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<EncryptionType, D::Error> {
        let name = String::deserialize(from)?;
        EncryptionType::from_name(&name)
            .ok_or_else(|| D::Error::custom(format!("no encryption type is named {name:?}")))
    }
}
