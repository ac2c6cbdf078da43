//! What is read of bodies beyond their length: the number of a gRPC call's messages, and the first
//! bytes of the few bodies that teach something about tokens.
//!
//! In: content as it passes, and how much of it was lost. Out: [`Content`], on the message. Samples
//! hold credentials: they are wiped on drop, have no `Debug` output, and end at observation.

pub mod coding;
pub mod grpc;
pub mod grpc_web;
pub mod route;
pub mod sample;
pub mod wanted;

pub use sample::Sample;
pub use wanted::Wanted;

/// What was read of one body.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Content {
    /// Its length only.
    #[default]
    Counted,
    /// The messages of a gRPC call.
    Grpc(grpc::Messages),
    /// The same by gRPC-Web, with its trailers.
    GrpcWeb(Box<grpc_web::Call>),
    /// Its first bytes.
    Sampled(Sample),
}

impl Content {
    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        match self {
            Self::Counted => {}
            Self::Grpc(messages) => messages.take(bytes),
            Self::GrpcWeb(call) => call.take(bytes),
            Self::Sampled(sample) => sample.take(bytes),
        }
    }

    /// Passes over `len` bytes that were lost.
    pub fn lose(&mut self, len: u64) {
        match self {
            Self::Counted => {}
            Self::Grpc(messages) => messages.lose(len),
            Self::GrpcWeb(call) => call.lose(len),
            Self::Sampled(sample) => sample.cut(),
        }
    }

    /// Whether the bytes to come matter: if not, they need not be captured.
    #[must_use]
    pub const fn is_wanting(&self) -> bool {
        match self {
            Self::Counted => false,
            Self::Grpc(_) | Self::GrpcWeb(_) => true,
            Self::Sampled(sample) => sample.is_open(),
        }
    }

    /// The body's first bytes, if they were asked for.
    #[must_use]
    pub const fn sample(&self) -> Option<&Sample> {
        match self {
            Self::Sampled(sample) => Some(sample),
            Self::Counted | Self::Grpc(_) | Self::GrpcWeb(_) => None,
        }
    }

    /// The messages of a gRPC call, if it is one.
    #[must_use]
    pub const fn messages(&self) -> Option<grpc::Messages> {
        match self {
            Self::Grpc(messages) => Some(*messages),
            Self::GrpcWeb(call) => Some(call.messages()),
            Self::Counted | Self::Sampled(_) => None,
        }
    }

    /// The status of a call by gRPC-Web, if it was seen.
    #[must_use]
    pub fn grpc_status(&self) -> Option<u32> {
        match self {
            Self::GrpcWeb(call) => call.status(),
            Self::Counted | Self::Grpc(_) | Self::Sampled(_) => None,
        }
    }

    /// Octets held.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Counted | Self::Grpc(_) => 0,
            Self::GrpcWeb(call) => call.size(),
            Self::Sampled(sample) => sample.size(),
        }
    }
}
