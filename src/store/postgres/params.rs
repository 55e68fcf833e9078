//! Values on their way into a statement, each with its type, so that a statement needs no preparing: one round trip, and
//! nothing that a transaction pooler could mix up.

use crate::job::{Json, Name};
use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

pub(super) type Param = (Box<dyn ToSql + Sync + Send>, Type);

/// What a parameter is called in Postgres.
pub(super) trait Typed: ToSql + Sync + Send + 'static {
    const TYPE: Type;
}

macro_rules! typed {
    ($($one:ty => $type:ident, $array:ident;)+) => {$(
        impl Typed for $one { const TYPE: Type = Type::$type; }
        impl Typed for Option<$one> { const TYPE: Type = Type::$type; }
        impl Typed for Vec<$one> { const TYPE: Type = Type::$array; }
        impl Typed for Vec<Option<$one>> { const TYPE: Type = Type::$array; }
        impl Typed for Option<Vec<$one>> { const TYPE: Type = Type::$array; }
        impl Typed for Option<Vec<Option<$one>>> { const TYPE: Type = Type::$array; }
    )+};
}

typed! {
    bool => BOOL, BOOL_ARRAY;
    i16 => INT2, INT2_ARRAY;
    i32 => INT4, INT4_ARRAY;
    i64 => INT8, INT8_ARRAY;
    Uuid => UUID, UUID_ARRAY;
    String => TEXT, TEXT_ARRAY;
    Vec<u8> => BYTEA, BYTEA_ARRAY;
}

/// Words that are text.
pub(super) trait AsStr {
    fn text(&self) -> &str;
}

impl AsStr for Name {
    fn text(&self) -> &str {
        self
    }
}

impl AsStr for Json {
    fn text(&self) -> &str {
        self.as_str()
    }
}

/// Text that somebody else holds too; it is not copied on its way.
#[derive(Debug)]
pub(super) struct Text<T>(pub(super) T);

impl<T: AsStr + std::fmt::Debug> ToSql for Text<T> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.text().as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TEXT
    }

    to_sql_checked!();
}

impl<T: AsStr + std::fmt::Debug + Sync + Send + 'static> Typed for Vec<Text<T>> {
    const TYPE: Type = Type::TEXT_ARRAY;
}

impl<T: AsStr + std::fmt::Debug + Sync + Send + 'static> Typed for Option<Vec<Option<Text<T>>>> {
    const TYPE: Type = Type::TEXT_ARRAY;
}

pub(super) fn typed<T: Typed>(value: T) -> Param {
    (Box::new(value), T::TYPE)
}

/// `params![a, b]`: the parameters of a statement, `$1` first.
macro_rules! params {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::postgres::params::typed($value)),*] };
}
pub(super) use params;
