//! The queue of what goes first.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deny_does_not_wait_behind_what_others_queued() {
    let store = Arc::new(MemoryStore::new());
    let committer = start_with(&store, SELDOM);
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |who: usize| {
        let order = Arc::clone(&order);
        move |_: &mut Transaction<'_>| {
            order.lock().unwrap().push(who);
            Ok::<_, ()>(())
        }
    };
    // One job holds the thread up while the queue fills.
    let (release, held) = blocking::channel::<()>();
    let (begun, begins) = blocking::channel();
    let holding = tokio::spawn({
        let committer = committer.clone();
        async move {
            let job = move |_: &mut Transaction<'_>| {
                begun.send(()).unwrap();
                held.recv().unwrap();
                Ok::<_, ()>(())
            };
            committer.submit(job).await
        }
    });
    begins.recv().unwrap();
    let queued: Vec<_> = (0..QUEUE)
        .map(|who| {
            let (committer, job) = (committer.clone(), note(who));
            tokio::spawn(async move { committer.submit(job).await })
        })
        .collect();
    while committer.statistics().queued < QUEUE {
        tokio::task::yield_now().await;
    }
    let deny = tokio::spawn({
        let (committer, job) = (committer.clone(), note(usize::MAX));
        async move { committer.submit_at(Turn::First, job).await }
    });
    while committer.statistics().queued <= QUEUE {
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    deny.await.unwrap().unwrap().unwrap();
    holding.await.unwrap().unwrap().unwrap();
    for job in queued {
        job.await.unwrap().unwrap().unwrap();
    }
    {
        let order = order.lock().unwrap();
        assert_eq!((order[0], order.len()), (usize::MAX, QUEUE + 1));
    }
    // Both queues are closed together, and what waits in either is done.
    committer.close().await;
    let late = committer.submit_at(Turn::First, note(0)).await;
    assert_eq!(late.unwrap_err(), CommitError::Stopped);
}
