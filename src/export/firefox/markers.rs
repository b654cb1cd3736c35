//! What a marker of the Firefox Profiler says of a wait. Called by [`super`].

use fxprof_processed_profile::{
    CategoryHandle, MarkerFieldFlags, MarkerFieldFormat, MarkerLocations, Profile, StaticSchemaMarker,
    StaticSchemaMarkerField, StringHandle,
};

/// A wait, or several short states in a row. What is not known is empty.
#[derive(Debug, Clone)]
pub(super) struct WaitMarker {
    name: StringHandle,
    category: CategoryHandle,
    /// In the order of the schema's fields.
    values: [StringHandle; FIELDS.len()],
}

/// By the keys of [`crate::export::tracks`].
const FIELDS: [StaticSchemaMarkerField; 5] = [
    field("lock", "Waited for"),
    field("holders", "Held meanwhile by"),
    field("syscall", "System call"),
    field("count", "Slices merged"),
    field("time", "Time in each state"),
];

const fn field(key: &'static str, label: &'static str) -> StaticSchemaMarkerField {
    StaticSchemaMarkerField { key, label, format: MarkerFieldFormat::String, flags: MarkerFieldFlags::SEARCHABLE }
}

impl WaitMarker {
    pub fn new(name: StringHandle, category: CategoryHandle, empty: StringHandle) -> WaitMarker {
        WaitMarker { name, category, values: [empty; FIELDS.len()] }
    }

    pub fn set(&mut self, key: &str, value: StringHandle) {
        if let Some(index) = FIELDS.iter().position(|field| field.key == key) {
            self.values[index] = value;
        }
    }
}

impl StaticSchemaMarker for WaitMarker {
    const UNIQUE_MARKER_TYPE_NAME: &'static str = "gilscope wait";
    const DESCRIPTION: Option<&'static str> = Some("A thread could not go on");
    const LOCATIONS: MarkerLocations =
        MarkerLocations::MARKER_CHART.union(MarkerLocations::MARKER_TABLE).union(MarkerLocations::TIMELINE_OVERVIEW);
    const CHART_LABEL: Option<&'static str> = Some("{marker.data.lock}");
    const TOOLTIP_LABEL: Option<&'static str> = Some("{marker.name}");
    const TABLE_LABEL: Option<&'static str> = Some("{marker.data.lock} {marker.data.holders}");
    const FIELDS: &'static [StaticSchemaMarkerField] = &FIELDS;

    fn name(&self, _: &mut Profile) -> StringHandle {
        self.name
    }

    fn category(&self, _: &mut Profile) -> CategoryHandle {
        self.category
    }

    fn string_field_value(&self, index: u32) -> StringHandle {
        self.values[index as usize]
    }

    fn number_field_value(&self, _: u32) -> f64 {
        0.0
    }
}
