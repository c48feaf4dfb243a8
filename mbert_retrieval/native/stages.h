// A thread pool for work in stages.
#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A job has stages, and a stage has blocks, which threads take one by one. The next stage begins when
// all blocks are done, not when all threads have arrived: a thread that is late delays nobody, since
// the others take its blocks.
struct Stage {
  std::atomic<int64_t> blocks;                    // may be set by a block of the previous stage
  std::function<void(int64_t block, int rank)> work;
  std::atomic<int64_t> taken{0}, done{0};
  std::atomic<double> finished{0};  // when its last block was done

  Stage(int64_t blocks, std::function<void(int64_t, int)> work)
      : blocks(blocks), work(std::move(work)) {}
};

struct Job {
  std::deque<Stage> stages;
  std::atomic<int> members{0};

  void add(int64_t blocks, std::function<void(int64_t, int)> work) {
    stages.emplace_back(blocks, std::move(work));
  }

  void run_stages() {
    const int rank = members.fetch_add(1);
    for (Stage& stage : stages) {
      for (int64_t block; (block = stage.taken.fetch_add(1)) < stage.blocks;) {
        stage.work(block, rank);
        stage.finished.store(now(), std::memory_order_relaxed);
        ++stage.done;
      }
      // stages take fractions of a millisecond, and sleeping and waking can take longer
      for (int spins = 0; stage.done < stage.blocks; ++spins)
        if (spins > 4096) std::this_thread::yield();
    }
  }
};

// Threads that wait for jobs. They are never destroyed, but end with the process.
class Pool {
 public:
  // Do the job in the calling thread and up to `threads` - 1 others.
  static void run(const std::shared_ptr<Job>& job, int threads) {
    if (threads > 1) instance().offer(job, threads - 1);
    job->run_stages();
  }

 private:
  static Pool& instance() {
    static std::mutex guard;
    static Pool* pool = nullptr;
    static pid_t owner = 0;
    const std::lock_guard lock(guard);
    if (pool == nullptr || owner != getpid()) {  // a forked process has none of these threads
      pool = new Pool;
      owner = getpid();
    }
    return *pool;
  }

  void offer(const std::shared_ptr<Job>& job, int wanted) {
    {
      const std::lock_guard lock(mutex_);
      for (; started_ < wanted; ++started_) std::thread([this] { serve(); }).detach();
      for (int i = 0; i < wanted; ++i) jobs_.push_back(job);
    }
    wake_.notify_all();
  }

  void serve() {
    for (;;) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return !jobs_.empty(); });
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
      job->run_stages();  // if the job is over already, there is no block left
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> jobs_;
  int started_ = 0;
};

// Call work(block, rank) for all blocks, in at most `threads` threads, each with its own rank.
template <typename Work>
void in_threads(int threads, int64_t blocks, Work work) {
  const auto job = std::make_shared<Job>();
  job->add(blocks, work);
  Pool::run(job, threads);
}

}  // namespace
