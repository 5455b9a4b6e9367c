//! Names of namespaces, services, instances and sessions.

use std::{fmt, sync::Arc};

/// 1 to 253 characters of `A-Z a-z 0-9 . _ : - [ ]`: no slash, so that names make keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// A service in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// The namespace.
    pub namespace: Name,
    /// Its name there.
    pub service: Name,
}

/// An instance of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName {
    /// The service.
    pub service: ServiceName,
    /// Its id there.
    pub id: Name,
}

impl Name {
    /// Characters of a name at most; the longest host name that DNS allows.
    pub const LEN_MAX: usize = 253;
    /// The namespace of services whose keys or requests name none.
    pub const DEFAULT_NAMESPACE: &'static str = "default";

    /// A name, or `None` when the text is not one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-[]".contains(&byte);
        let is_name = !text.is_empty() && text.len() <= Self::LEN_MAX;
        (is_name && text.bytes().all(is_allowed)).then(|| Self(text.into()))
    }

    /// The default namespace.
    #[must_use]
    pub fn default_namespace() -> Self {
        Self(Self::DEFAULT_NAMESPACE.into())
    }

    /// The first of all names, in their order.
    #[must_use]
    pub fn first() -> Self {
        Self("-".into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the default namespace.
    #[must_use]
    pub fn is_default_namespace(&self) -> bool {
        self.as_str() == Self::DEFAULT_NAMESPACE
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service)
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What may be a name, at its limits.
    #[test]
    fn names_have_few_characters() {
        for text in ["a", "10.0.0.7:8080", "[::1]:80", "A_b-c.9", &"x".repeat(253)] {
            assert_eq!(Name::new(text).map(|name| name.to_string()), Some(text.to_owned()));
        }
        for text in ["", "a/b", "a b", "ü", "a\n", "*", &"x".repeat(254)] {
            assert_eq!(Name::new(text), None, "{text:?}");
        }
    }

    /// No name comes before the first one.
    #[test]
    fn the_first_name_is_the_first() {
        let names = (0_u8..128).filter_map(|byte| Name::new(&char::from(byte).to_string()));
        assert_eq!(names.min(), Some(Name::first()));
        assert_eq!(Name::new("-"), Some(Name::first()));
    }
}
