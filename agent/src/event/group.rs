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
        #[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
        pub struct $Group {
            $( $(#[doc = $rdoc])+ pub $r: $R, )*
            $(
                $(#[doc = $odoc])+
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $o: Option<$O>,
            )*
            $(
                $(#[doc = $ldoc])+
                #[serde(default, skip_serializing_if = "Vec::is_empty")]
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
