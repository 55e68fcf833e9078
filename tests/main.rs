#[test]
fn job_with_meta() {
    let job = serde_json::json!({"id":"01890a5d-ac96-774b-bcce-b302099a8057","kind":"a","queue":"q","priority":5,"state":"dead","attempt":1,"max_attempts":3,"created_at":"2026-01-01T00:00:00Z","run_at":"2026-01-01T00:00:00Z","payload":{"x":1.0},"attempts":[],"meta":{"a":1},"tags":["t"],"on_success":{"id":"01890a5d-ac96-774b-bcce-b302099a8057","id_is_producers":false,"kind":"b","payload":{"z":1.50},"delay_ms":0,"ordered":false,"extra":{}}});
    let r: Result<windlass::job::Job, _> = serde_json::from_str(&job.to_string());
    println!("{r:?}");
    println!("{}",serde_json::to_string(&r.unwrap()).unwrap());
}
