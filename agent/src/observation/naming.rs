//! How people are named in what is observed. In: names as credentials and certificates have them.
//! Out: what may be kept of them.

use crate::{
    names::named_enum,
    token::pseudonym::{Pseudonyms, Withheld},
};

named_enum! {
    /// What is kept of the people in tokens.
    pub enum SubjectMode {
        /// Their names as the issuer has them.
        Plain = "plain",
        /// A pseudonym, which only the key's holder can tie to a name, until it is forgotten.
        Pseudonym = "pseudonym",
        /// Nothing.
        Drop = "drop",
    }
}

/// A [`SubjectMode`] with what it takes.
#[derive(Clone)]
pub enum Naming {
    /// Names are kept.
    Plain,
    /// Pseudonyms are.
    Pseudonym(Pseudonyms),
    /// Nothing is.
    Drop,
}

/// Some names, as far as they may be kept.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Named<T> {
    pub(super) names: T,
    /// Why there are fewer than there were, unless nothing is kept of anybody.
    pub(super) withheld: Option<Withheld>,
}

impl Naming {
    /// A name of someone, as it may be kept.
    ///
    /// # Errors
    /// Others' may, but theirs may not.
    pub fn name(&self, name: &str) -> Result<Option<String>, Withheld> {
        match self {
            Self::Plain => Ok(Some(name.to_owned())),
            Self::Pseudonym(pseudonyms) => pseudonyms.of(name).map(Some),
            Self::Drop => Ok(None),
        }
    }

    /// Names of one person, of whom nothing is kept if one of them may not be.
    pub(super) fn person<const N: usize>(
        &self,
        names: [Option<&String>; N],
    ) -> Named<[Option<String>; N]> {
        let mut kept = [const { None }; N];
        for (place, name) in kept.iter_mut().zip(names) {
            match name.map_or(Ok(None), |name| self.name(name)) {
                Ok(name) => *place = name,
                Err(reason) => {
                    return Named { names: [const { None }; N], withheld: Some(reason) };
                }
            }
        }
        Named { names: kept, withheld: None }
    }

    /// Names of several people.
    pub(super) fn people(&self, names: &[String]) -> Named<Vec<String>> {
        let mut kept = Named::<Vec<_>>::default();
        for name in names {
            match self.name(name) {
                Ok(name) => kept.names.extend(name),
                Err(reason) => kept.withheld = Some(reason),
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::testing::subject_key as key;

    fn without_alice() -> Naming {
        let mut key = key(7);
        key.forget("alice");
        Naming::Pseudonym(Pseudonyms::new(key))
    }

    #[test]
    fn nothing_is_kept_of_a_person_of_whom_one_name_is_forgotten() {
        let [alice, uuid] = ["alice", "f1c4"].map(str::to_owned);
        let naming = without_alice();
        for names in [[Some(&uuid), Some(&alice)], [Some(&alice), Some(&uuid)]] {
            let Named { names, withheld } = naming.person(names);
            assert_eq!((names, withheld), ([None, None], Some(Withheld::Forgotten)));
        }
        let Named { names, withheld } = naming.person([Some(&uuid), None]);
        assert_eq!((names, withheld), ([key(7).pseudonym("f1c4"), None], None));
    }

    #[test]
    fn others_are_kept_beside_one_who_is_forgotten() {
        let names = ["gateway", "alice", "batch"].map(str::to_owned);
        let Named { names, withheld } = without_alice().people(&names);
        let expected = ["gateway", "batch"].map(|name| key(7).pseudonym(name).unwrap());
        assert_eq!((names.as_slice(), withheld), (&expected[..], Some(Withheld::Forgotten)));
    }

    #[test]
    fn what_is_dropped_of_everybody_is_not_told_of_anybody() {
        let alice = "alice".to_owned();
        let Named { names, withheld } = Naming::Drop.person([Some(&alice)]);
        assert_eq!((names, withheld), ([None], None));
        assert_eq!(Naming::Drop.people(&[alice]), Named::default());
    }
}
