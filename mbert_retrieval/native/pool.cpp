#include "pool.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace mbert {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Threads that wait for jobs. They are never destroyed, but end with the process.
class Pool {
 public:
  static void offer(const std::shared_ptr<Job>& job, int wanted) noexcept {
    Pool* pool = instance();
    if (pool != nullptr) pool->add(job, wanted);
  }

 private:
  // Null where memory is short: the caller then works alone.
  static Pool* instance() noexcept {
#if !defined(_WIN32)
    // a forked process has none of the threads, and its copy of the lock may be taken for ever
    static const int registered = pthread_atfork(nullptr, nullptr, [] { current = nullptr; });
    static_cast<void>(registered);
#endif
    Pool* pool = current.load();
    if (pool != nullptr) return pool;
    Pool* made = new (std::nothrow) Pool;
    if (made == nullptr || current.compare_exchange_strong(pool, made)) return made;
    delete made;
    return pool;
  }

  void add(const std::shared_ptr<Job>& job, int wanted) noexcept {
    try {
      const std::lock_guard lock(mutex_);
      for (; started_ < wanted; ++started_) std::thread([this] { serve(); }).detach();
      for (int i = 0; i < wanted; ++i) jobs_.push_back(job);
    } catch (const std::exception&) {
      // no more threads or memory: those that there are do the work
    }
    wake_.notify_all();
  }

  void serve() noexcept {
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

  static std::atomic<Pool*> current;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> jobs_;
  int started_ = 0;
};

std::atomic<Pool*> Pool::current{nullptr};

size_t Job::add(int64_t blocks, Work work) {
  stages_.emplace_back(blocks, std::move(work));
  return stages_.size() - 1;
}

void Job::run_stages() noexcept {
  const int rank = members_.fetch_add(1);
  for (Stage& stage : stages_) {
    for (int64_t block; (block = stage.taken.fetch_add(1)) < stage.blocks;) {
      if (!failed_) {
        try {
          stage.work(block, rank);
        } catch (...) {
          if (!failed_.exchange(true)) failure_ = std::current_exception();
        }
      }
      stage.finished.store(now(), std::memory_order_relaxed);
      ++stage.done;
    }
    // stages take fractions of a millisecond, and sleeping and waking can take longer
    for (int spins = 0; stage.done < stage.blocks; ++spins)
      if (spins > 4096) std::this_thread::yield();
  }
}

void Job::run(const std::shared_ptr<Job>& job, int threads) {
  if (threads > 1) Pool::offer(job, threads - 1);
  job->run_stages();
  if (job->failed_) std::rethrow_exception(job->failure_);
}

void in_threads(int threads, int64_t blocks, Job::Work work) {
  const auto job = std::make_shared<Job>();
  job->add(blocks, std::move(work));
  Job::run(job, static_cast<int>(threads < blocks ? threads : blocks));
}

}  // namespace mbert
