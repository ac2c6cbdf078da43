//! OpenTelemetry's messages of logs, as far as they are written or read here. The field numbers are
//! those of opentelemetry-proto 1.x and of google.rpc, which are stable.
//!
//! By hand: the crate that has them all brings the SDK, and knows no error details of gRPC. It is
//! what tests decode with.

use prost::{Message, Oneof};

/// `ExportLogsServiceRequest`, and `LogsData`, which is the same.
#[derive(Clone, Message, PartialEq)]
pub struct Logs {
    /// Records by where they are from.
    #[prost(message, repeated, tag = "1")]
    pub resource_logs: Vec<ResourceLogs>,
}

/// Records of one resource.
#[derive(Clone, Message, PartialEq)]
pub struct ResourceLogs {
    /// The resource.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// Its records by who made them.
    #[prost(message, repeated, tag = "2")]
    pub scope_logs: Vec<ScopeLogs>,
}

/// Where records are from.
#[derive(Clone, Message, PartialEq)]
pub struct Resource {
    /// What is known of it.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// Records of one scope.
#[derive(Clone, Message, PartialEq)]
pub struct ScopeLogs {
    /// The scope.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// The records.
    #[prost(message, repeated, tag = "2")]
    pub log_records: Vec<LogRecord>,
}

/// `InstrumentationScope`: who makes records.
#[derive(Clone, Message, PartialEq)]
pub struct Scope {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// A log record.
#[derive(Clone, Message, PartialEq)]
pub struct LogRecord {
    /// When it happened.
    #[prost(fixed64, tag = "1")]
    pub time_unix_nano: u64,
    /// `SeverityNumber`.
    #[prost(int32, tag = "2")]
    pub severity_number: i32,
    /// The severity in our words.
    #[prost(string, tag = "3")]
    pub severity_text: String,
    /// The event in a few words.
    #[prost(message, optional, tag = "5")]
    pub body: Option<AnyValue>,
    /// What is known of it.
    #[prost(message, repeated, tag = "6")]
    pub attributes: Vec<KeyValue>,
    /// 16 bytes, or none.
    #[prost(bytes = "vec", tag = "9")]
    pub trace_id: Vec<u8>,
    /// 8 bytes, or none.
    #[prost(bytes = "vec", tag = "10")]
    pub span_id: Vec<u8>,
    /// When it was seen.
    #[prost(fixed64, tag = "11")]
    pub observed_time_unix_nano: u64,
    /// What kind of event it is.
    #[prost(string, tag = "12")]
    pub event_name: String,
}

/// A name and its value.
#[derive(Clone, Message, PartialEq)]
pub struct KeyValue {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// A value.
#[derive(Clone, Message, PartialEq)]
pub struct AnyValue {
    /// The value, of one of several types.
    #[prost(oneof = "AnyValueKind", tags = "1, 2, 3, 4, 5")]
    pub value: Option<AnyValueKind>,
}

/// The types that values of events have.
#[derive(Clone, Oneof, PartialEq)]
pub enum AnyValueKind {
    /// Text.
    #[prost(string, tag = "1")]
    String(String),
    /// Yes or no.
    #[prost(bool, tag = "2")]
    Bool(bool),
    /// A whole number.
    #[prost(int64, tag = "3")]
    Int(i64),
    /// Another number.
    #[prost(double, tag = "4")]
    Double(f64),
    /// A list.
    #[prost(message, tag = "5")]
    Array(ArrayValue),
}

/// A list of values.
#[derive(Clone, Message, PartialEq)]
pub struct ArrayValue {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<AnyValue>,
}

/// `ExportLogsServiceResponse`.
#[derive(Clone, Message, PartialEq)]
pub struct Response {
    /// There if not all went well.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// `ExportLogsPartialSuccess`.
#[derive(Clone, Message, PartialEq)]
pub struct PartialSuccess {
    /// How many records were refused; nobody says which.
    #[prost(int64, tag = "1")]
    pub rejected_log_records: i64,
    /// Why, or a warning, in English.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// `google.rpc.Status`, in `grpc-status-details-bin`.
#[derive(Clone, Message, PartialEq)]
pub struct Status {
    /// What else there is to say.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, Message, PartialEq)]
pub struct Any {
    /// Ends with the name of the message.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, Message, PartialEq)]
pub struct RetryInfo {
    /// How long to wait at least.
    #[prost(message, optional, tag = "1")]
    pub retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Message, PartialEq)]
pub struct Delay {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// And so many nanoseconds.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}
