//! Labels that the machine tells of itself: what it is and which cloud it is in, never which one it is.
//!
//! No cloud is asked over the network. Names follow the OpenTelemetry conventions.

use std::collections::BTreeMap;

use handover::limits;
use serde_json::Value;

use crate::host::Root;

/// `/run/cloud-init/instance-data.json`, the keys below `v1` that cloud-init promises to keep, and our label.
const CLOUD: [(&str, &str); 4] = [
    ("cloud_name", "cloud.provider"),
    ("region", "cloud.region"),
    ("availability_zone", "cloud.availability_zone"),
    ("machine", "host.arch"),
];

/// Firmware's words, `/sys/class/dmi/id/`. Not its serial numbers.
const DMI: [(&str, &str); 2] = [("sys_vendor", "host.vendor"), ("product_name", "host.type")];

/// The labels of a machine, and over them those of its owner.
pub fn gather(root: &Root, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (file, label) in DMI {
        if let Some(text) = root.text(&format!("/sys/class/dmi/id/{file}")) {
            labels.insert(label.to_owned(), text);
        }
    }
    let data = root.bytes("/run/cloud-init/instance-data.json");
    let data = data.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()).unwrap_or_default();
    for (key, label) in CLOUD {
        if let Some(text) = data.get("v1").and_then(|v1| v1.get(key)).and_then(Value::as_str) {
            labels.insert(label.to_owned(), text.to_owned());
        }
    }
    labels.extend(own.clone());
    let (key, value) = limits::LABEL;
    labels.retain(|k, v| !v.is_empty() && k.len() <= key && v.len() <= value);
    labels.into_iter().take(limits::LABELS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_owner_has_the_last_word_and_serials_stay_home() {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("sys/class/dmi/id/sys_vendor", "Amazon EC2\n"),
            ("sys/class/dmi/id/product_name", "m7g.large\n"),
            ("sys/class/dmi/id/product_serial", "secret\n"),
            (
                "run/cloud-init/instance-data.json",
                r#"{"v1": {"cloud_name": "aws", "region": "eu-central-1", "instance_id": "i-1"}}"#,
            ),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let own = BTreeMap::from([("host.type".to_owned(), "mine".to_owned())]);
        let labels = gather(&Root::new(dir.path()), &own);
        let expected = [
            ("cloud.provider", "aws"),
            ("cloud.region", "eu-central-1"),
            ("host.type", "mine"),
            ("host.vendor", "Amazon EC2"),
        ];
        assert_eq!(labels, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn damaged_instance_data_is_no_label() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("run/cloud-init")).unwrap();
        fs::write(dir.path().join("run/cloud-init/instance-data.json"), "{").unwrap();
        assert!(gather(&Root::new(dir.path()), &BTreeMap::new()).is_empty());
    }
}
