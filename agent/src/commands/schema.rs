//! `scopewatch config schema`: JSON Schema of what operators write, made from the definitions that
//! it is parsed by. In: which of them. Out: the schema.

use schemars::{Schema, generate::SchemaSettings};

use crate::{
    cli::{self, ConfigCommand, SchemaOf},
    commands::{policy::Cases, print},
    config,
    failure::Failure,
    policy,
};

/// Does what was asked.
///
/// # Errors
/// Standard output fails.
pub fn config(asked: &cli::Config) -> Result<(), Failure> {
    let ConfigCommand::Schema { of } = &asked.command;
    print(&serde_json::to_string_pretty(&schema(*of)).unwrap_or_default())
}

fn schema(of: SchemaOf) -> Schema {
    let generator = SchemaSettings::draft2020_12().into_generator();
    match of {
        SchemaOf::Config => generator.into_root_schema_for::<config::raw::Config>(),
        SchemaOf::Policy => generator.into_root_schema_for::<policy::raw::Policy>(),
        SchemaOf::Cases => generator.into_root_schema_for::<Cases>(),
    }
}

#[cfg(test)]
mod tests;
