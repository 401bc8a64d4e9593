// Stands in for libFuzzer where no clang is: mutates the files of a corpus at random, without coverage.
//   FUZZER -max_total_time=SECONDS [-seed=N] CORPUS...   or   FUZZER FILE...   to try these files
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t count);

namespace {

using Bytes = std::vector<std::uint8_t>;
constexpr std::size_t kMaxBytes = 4096;

Bytes content_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return Bytes(std::istreambuf_iterator<char>(file), {});
}

// One to six changes: a byte, a number at the edge of its type, a piece that is cut or put in.
Bytes mutated(Bytes bytes, std::mt19937_64& random) {
    constexpr std::uint64_t kEdges[] = {0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, ~0ull};
    for (std::uint64_t changes = random() % 6 + 1; changes > 0; --changes) {
        const std::size_t place = random() % (bytes.size() + 1);
        switch (random() % 4) {
            case 0:
                if (place < bytes.size()) bytes[place] = static_cast<std::uint8_t>(random());
                break;
            case 1:
                for (std::size_t i = 0, edge = random() % 8; i < 8 && place + i < bytes.size(); ++i)
                    bytes[place + i] = static_cast<std::uint8_t>(kEdges[edge] >> 8 * i);
                break;
            case 2:
                bytes.resize(place);
                break;
            default:
                for (std::size_t i = random() % 40 + 1; i > 0 && bytes.size() < kMaxBytes; --i)
                    bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(place),
                                 static_cast<std::uint8_t>(random()));
        }
    }
    return bytes;
}

}  // namespace

int main(int count, char** arguments) {
    double seconds = 0;
    std::uint64_t seed = 1;
    std::vector<Bytes> corpus = {{}};
    for (int i = 1; i < count; ++i) {
        const std::string one = arguments[i];
        if (one.rfind("-max_total_time=", 0) == 0)
            seconds = std::stod(one.substr(16));
        else if (one.rfind("-seed=", 0) == 0)
            seed = std::stoull(one.substr(6));
        else if (std::filesystem::is_directory(one))
            for (const auto& file : std::filesystem::directory_iterator(one))
                corpus.push_back(content_of(file));
        else if (one[0] != '-')
            corpus.push_back(content_of(one));
    }
    for (const Bytes& bytes : corpus) LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    std::mt19937_64 random(seed);
    const auto begin = std::chrono::steady_clock::now();
    std::uint64_t runs = corpus.size();
    for (; std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() < seconds;
         ++runs) {
        const Bytes bytes = mutated(corpus[random() % corpus.size()], random);
        std::ofstream("last-input", std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    }
    std::printf("stat::number_of_executed_units: %llu\n", static_cast<unsigned long long>(runs));
    return 0;
}
