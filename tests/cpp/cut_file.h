// A record file that a test cuts while it is read; its bytes are a simple function of record and place.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "record_file.h"

// A file of records whose pixels are a simple function of record and place, removed at the end.
class CutFile {
  public:
    CutFile(const selfie::RecordLayout& layout, std::size_t records, std::uint32_t label = 3) {
        path_ = (std::filesystem::temp_directory_path() / "selfie_core_test_XXXXXX").string();
        const int descriptor = ::mkstemp(path_.data());
        bytes_.assign(records * layout.record_bytes(), 0);
        for (std::size_t i = 0; i < records; ++i) {
            std::uint8_t* record = bytes_.data() + i * layout.record_bytes();
            record[selfie::kRecordIdOffset + 3] = static_cast<std::uint8_t>(i + 1);
            record[selfie::kLabelOffset + 3] = static_cast<std::uint8_t>(label);
            for (std::size_t k = 0; k < layout.pixel_bytes(); ++k)
                record[selfie::kPixelOffset + k] = static_cast<std::uint8_t>((i * 131 + k * k * 7 + k) >> 1);
        }
        if (::write(descriptor, bytes_.data(), bytes_.size()) != static_cast<ssize_t>(bytes_.size()))
            std::abort();
        ::close(descriptor);
    }
    ~CutFile() { ::unlink(path_.c_str()); }
    CutFile(const CutFile&) = delete;
    CutFile& operator=(const CutFile&) = delete;

    const std::string& path() const { return path_; }
    const std::vector<std::uint8_t>& bytes() const { return bytes_; }
    void cut(std::size_t bytes) const {
        if (::truncate(path_.c_str(), static_cast<off_t>(bytes)) != 0) std::abort();
    }

    std::shared_ptr<selfie::RecordFiles> open(const selfie::RecordLayout& layout,
                                              selfie::ReadMode mode) const {
        return std::make_shared<selfie::RecordFiles>(std::vector<std::string>{path_}, layout, 10, mode);
    }

  private:
    std::string path_;
    std::vector<std::uint8_t> bytes_;
};
