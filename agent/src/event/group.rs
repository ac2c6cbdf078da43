//! How groups of event fields are defined: once, with what `docs/events.md` says of them.

/// A field, as it is documented.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Field {
    /// Key within its group.
    pub name: &'static str,
    /// Rust type of the value, or of the items of a list.
    pub rust_type: &'static str,
    /// When it is there.
    pub presence: Presence,
    /// Unit or format; `group` for a nested group.
    pub unit: &'static str,
    /// Where its meaning is defined; may be empty.
    pub source: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// When a field is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// Always, where its group is.
    Required,
    /// If it is known.
    Optional,
    /// If the list is not empty.
    List,
}

/// How a field is called in events: a name that is a word of Rust's goes without its mark.
pub const fn name_of(name: &str) -> &str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

/// The positions of `names`, of ASCII, in the order of the names.
#[expect(
    clippy::indexing_slicing,
    reason = "it runs when the agent is built, and would fail there"
)]
pub const fn order_of<const COUNT: usize>(names: &[&str]) -> [usize; COUNT] {
    let mut order = [0; COUNT];
    let mut taken = 0;
    // Every name is put before those that it precedes.
    while taken < COUNT {
        let mut at = taken;
        while at > 0 && precedes(names[taken].as_bytes(), names[order[at - 1]].as_bytes()) {
            order[at] = order[at - 1];
            at -= 1;
        }
        order[at] = taken;
        taken += 1;
    }
    order
}

#[expect(clippy::indexing_slicing, reason = "as above")]
const fn precedes(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() {
        if one[at] != other[at] {
            return one[at] < other[at];
        }
        at += 1;
    }
    one.len() < other.len()
}

/// Defines a group of fields as a struct that leaves out what is unknown or empty, and a constant
/// `FIELDS` that documents it. Each field names its unit and its source.
macro_rules! group {
    (
        $(#[$meta:meta])*
        pub struct $Group:ident {
            required { $( $(#[doc = $rdoc:literal])+ $r:ident: $R:ty [$runit:literal, $rsource:literal], )* }
            optional { $( $(#[doc = $odoc:literal])+ $o:ident: $O:ty [$ounit:literal, $osource:literal], )* }
            list { $( $(#[doc = $ldoc:literal])+ $l:ident: $L:ty [$lunit:literal, $lsource:literal], )* }
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize)]
        pub struct $Group {
            $( $(#[doc = $rdoc])+ pub $r: $R, )*
            $(
                $(#[doc = $odoc])+
                #[serde(default)]
                pub $o: Option<$O>,
            )*
            $(
                $(#[doc = $ldoc])+
                #[serde(default)]
                pub $l: Vec<$L>,
            )*
        }

        impl $Group {
            /// What is documented of the fields, in the order of the event.
            pub const FIELDS: &[$crate::event::group::Field] = &[
                $( group!(@field $r, $R, Required, $runit, $rsource, $($rdoc)+), )*
                $( group!(@field $o, $O, Optional, $ounit, $osource, $($odoc)+), )*
                $( group!(@field $l, $L, List, $lunit, $lsource, $($ldoc)+), )*
            ];
        }

        impl serde::Serialize for $Group {
            /// Writes the fields that are there in the order of their names, as the canonical form
            /// has them (RFC 8785 §3.2.3).
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                type Write<S> = fn(
                    &$Group,
                    &mut <S as serde::Serializer>::SerializeStruct,
                ) -> Result<(), <S as serde::Serializer>::Error>;
                const NAMES: &[&str] = &[
                    $( $crate::event::group::name_of(stringify!($r)), )*
                    $( $crate::event::group::name_of(stringify!($o)), )*
                    $( $crate::event::group::name_of(stringify!($l)), )*
                ];
                const ORDER: [usize; NAMES.len()] = $crate::event::group::order_of(NAMES);
                let fields: [Write<S>; NAMES.len()] = [
                    $( |it, to| {
                        to.serialize_field($crate::event::group::name_of(stringify!($r)), &it.$r)
                    }, )*
                    $( |it, to| {
                        const NAME: &str = $crate::event::group::name_of(stringify!($o));
                        match &it.$o {
                            Some(value) => to.serialize_field(NAME, value),
                            None => to.skip_field(NAME),
                        }
                    }, )*
                    $( |it, to| {
                        const NAME: &str = $crate::event::group::name_of(stringify!($l));
                        if it.$l.is_empty() { to.skip_field(NAME) } else { to.serialize_field(NAME, &it.$l) }
                    }, )*
                ];
                let mut group = serializer.serialize_struct(stringify!($Group), NAMES.len())?;
                for write in ORDER.iter().filter_map(|nth| fields.get(*nth)) {
                    write(self, &mut group)?;
                }
                group.end()
            }
        }
    };
    (@field $name:ident, $Type:ty, $presence:ident, $unit:literal, $source:literal, $($doc:literal)+) => {
        $crate::event::group::Field {
            name: stringify!($name),
            rust_type: stringify!($Type),
            presence: $crate::event::group::Presence::$presence,
            unit: $unit,
            source: $source,
            meaning: concat!($($doc),+),
        }
    };
}

pub(crate) use group;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_put_in_order() {
        assert_eq!(order_of::<4>(&["b", "ab", "", "a"]), [2, 3, 1, 0]);
        assert_eq!((name_of("r#type"), name_of("r"), name_of("")), ("type", "r", ""));
    }
}
