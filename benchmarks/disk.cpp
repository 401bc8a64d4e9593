// What the disk itself gives: reads of one size, at random places or one after the other, past the page
// cache. disk BYTES THREADS SECONDS random|sequential|huge FILE...   prints reads per second
// huge: sequential, into huge pages instead of ordinary memory.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

int main(int count, char** arguments) {
    if (count < 6) return 2;
    constexpr std::size_t kSector = 4096;
    const std::size_t bytes = (std::strtoull(arguments[1], nullptr, 10) + kSector - 1) / kSector * kSector;
    const int threads = std::atoi(arguments[2]);
    const double seconds = std::atof(arguments[3]);
    const bool random = std::strcmp(arguments[4], "random") == 0;
    const bool huge = std::strcmp(arguments[4], "huge") == 0;
    constexpr std::size_t kHugePage = std::size_t{2} << 20;
    struct File {
        int descriptor;
        std::uint64_t places;
    };
    std::vector<File> files;
    for (int i = 5; i < count; ++i) {
        int descriptor = ::open(arguments[i], O_RDONLY | O_DIRECT);
        if (descriptor < 0) descriptor = ::open(arguments[i], O_RDONLY);
        struct stat status;
        if (descriptor < 0 || ::fstat(descriptor, &status) != 0) return 1;
        files.push_back({descriptor, static_cast<std::uint64_t>(status.st_size) / bytes});
    }
    std::atomic<std::uint64_t> reads{0};
    std::atomic<std::uint64_t> turn{0};
    const auto begin = std::chrono::steady_clock::now();
    const auto passed = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    std::vector<std::thread> workers;
    for (int id = 0; id < threads; ++id)
        workers.emplace_back([&, id] {
            const std::size_t page = huge ? kHugePage : kSector;
            auto* buffer = static_cast<char*>(std::aligned_alloc(page, (bytes + page - 1) / page * page));
            if (huge) ::madvise(buffer, (bytes + page - 1) / page * page, MADV_HUGEPAGE);
            std::mt19937_64 draw(static_cast<std::uint64_t>(id));
            while (passed() < seconds) {
                const std::uint64_t next = random ? draw() : turn++;
                const File& file =
                    files[random ? draw() % files.size() : next / files[0].places % files.size()];
                const std::uint64_t place = next % file.places;
                if (::pread(file.descriptor, buffer, bytes, static_cast<off_t>(place * bytes)) > 0) ++reads;
            }
            std::free(buffer);
        });
    for (std::thread& worker : workers) worker.join();
    std::printf("%.1f\n", static_cast<double>(reads) / passed());
}
