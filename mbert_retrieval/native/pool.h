// The thread pool of all kernels, for work in stages.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>

namespace mbert {

double now();  // seconds

// A job has stages, and a stage has blocks, which threads take one by one. The next stage begins when
// all blocks are done, not when all threads have arrived: a thread that is late delays nobody, since
// the others take its blocks. After an exception the blocks that are left are skipped.
class Job {
 public:
  using Work = std::function<void(int64_t block, int rank)>;

  // Add a stage. Returns its number.
  size_t add(int64_t blocks, Work work);
  // Set the blocks of a later stage, from a block of an earlier one.
  void set_blocks(size_t stage, int64_t blocks) { stages_[stage].blocks = blocks; }
  // When the stage's last block was done; 0 for a stage without blocks.
  double finished(size_t stage) const { return stages_[stage].finished; }
  size_t size() const { return stages_.size(); }

  // Do the job in the calling thread and up to `threads` - 1 others. rank: below `threads`, a number of
  // its own for each thread. Throws the first exception of any block.
  static void run(const std::shared_ptr<Job>& job, int threads);

 private:
  friend class Pool;
  struct Stage {
    std::atomic<int64_t> blocks;
    Work work;
    std::atomic<int64_t> taken{0}, done{0};
    std::atomic<double> finished{0};

    Stage(int64_t blocks, Work work) : blocks(blocks), work(std::move(work)) {}
  };

  void run_stages() noexcept;

  std::deque<Stage> stages_;
  std::atomic<int> members_{0};
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;
};

// Call work(block, rank) for all blocks, in at most `threads` threads, each with its own rank. Throws
// the first exception of any.
void in_threads(int threads, int64_t blocks, Job::Work work);

}  // namespace mbert
