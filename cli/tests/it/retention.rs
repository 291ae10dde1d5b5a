//! Retention and garbage collection from the command line, with a real coordinator.

use crate::support::real::Real;

#[tokio::test(flavor = "multi_thread")]
async fn retention_is_set_shown_and_taken_away_and_the_plan_says_what_goes() {
    let real = Real::start().await;
    real.run(&["cluster", "create", "bank", "--min-members", "1"]).await.exits(0);
    assert!(real.run(&["retention", "show", "bank"]).await.exits(0).stdout.contains("everything"));
    real.run(&["retention", "set", "bank", "--floor", "3"]).await.exits(2).says(&["--keep-last"]);
    let set = real.run(&["retention", "set", "bank", "--keep-last", "5", "--daily", "7", "--json"]).await.exits(0).json();
    assert_eq!(
        (&set["retention"]["keep_last"], &set["retention"]["daily"], &set["retention"]["floor"]),
        (&5.into(), &7.into(), &1.into())
    );
    let shown = real.run(&["retention", "show", "bank"]).await.exits(0).stdout;
    assert!(shown.contains("the last 5, 7 daily; never fewer than 1"), "{shown}");

    let orphan = "clusters/bank/snapshots/01890a5d-ac96-774b-bcce-b302099a8057/parts/p1.1/state";
    let path = std::path::Path::new(real.archive()).join(orphan);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(&path, "left").expect("written");
    let plan = real.run(&["gc", "plan", "bank", "--orphans", "delete", "--json"]).await.exits(0).json();
    assert_eq!((&plan["orphans"]["items"][0]["key"], &plan["orphans"]["go"]), (&orphan.into(), &0.into()), "younger than a day");
    let text = real.run(&["gc", "plan", "bank"]).await.exits(0).stdout;
    assert!(text.contains("stays: unknown_snapshot") && text.contains("1 of 1 objects"), "{text}");
    assert!(real.run(&["gc", "run", "bank"]).await.exits(0).stdout.contains("0 of 1 deleted"));
    assert!(path.exists());
    real.run(&["gc", "plan", "nobody"]).await.exits(6);
    assert!(real.run(&["gc", "show"]).await.exits(0).stdout.contains("what is to go is deleted"));
    assert_eq!(real.run(&["gc", "confirm", "--json"]).await.exits(0).json()["suspended"], false);

    assert_eq!(real.run(&["retention", "delete", "bank", "--json"]).await.exits(0).json()["deleted"], true);
    assert!(real.run(&["retention", "show", "bank", "--json"]).await.exits(0).json()["retention"].is_null());
    real.stop().await;
}
