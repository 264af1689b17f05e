#include "shim/budget/notice.h"

#include <gtest/gtest.h>

namespace oomguard::budget {
namespace {

constexpr Bytes kGiB = 1024 * kMiB;
constexpr Bytes kLimit = 6 * kGiB;
constexpr int64_t kSecond = 1'000'000'000;

class NoticeTest : public testing::Test {
 protected:
  // Whether a line would be printed.
  bool look(Bytes left, int64_t now_ns, Bytes limit = kLimit, Bytes reserve = 100 * kMiB) {
    notice_.look(limit - left, limit, left, reserve, now_ns);
    return notice_.due() && notice_.take(now_ns);
  }
  Notice notice_;
};

TEST_F(NoticeTest, NothingIsSaidWhereNobodyPrintsIt) { EXPECT_FALSE(look(kMiB, kSecond)); }

TEST_F(NoticeTest, OfALargeLimitATenthIsLeft) {
  notice_.allow();
  EXPECT_FALSE(look(700 * kMiB, kSecond));
  EXPECT_TRUE(look(600 * kMiB, kSecond));
}

TEST_F(NoticeTest, OfASmallLimitTwiceTheReserveIsLeft) {
  notice_.allow();
  EXPECT_FALSE(look(90 * kMiB, kSecond, 600 * kMiB, 40 * kMiB));
  EXPECT_TRUE(look(79 * kMiB, kSecond, 600 * kMiB, 40 * kMiB));
}

TEST_F(NoticeTest, ItIsSaidAgainAfterHalfAMinuteOfGrowth) {
  notice_.allow();
  EXPECT_TRUE(look(600 * kMiB, kSecond));
  EXPECT_FALSE(look(300 * kMiB, 30 * kSecond));
  EXPECT_FALSE(look(590 * kMiB, 32 * kSecond)) << "what a person knows already";
  EXPECT_TRUE(look(300 * kMiB, 32 * kSecond));
  EXPECT_FALSE(look(kGiB, 40 * kSecond));
  EXPECT_FALSE(look(600 * kMiB, 41 * kSecond));
  EXPECT_TRUE(look(600 * kMiB, 63 * kSecond)) << "there was room in between";
}

TEST_F(NoticeTest, ALoadIsLookedAtFromHalfOfTheLimitOnTwiceASecond) {
  notice_.look_at_load(kLimit, kLimit, kSecond);
  EXPECT_FALSE(notice_.progress_due()) << "nobody prints it";
  notice_.allow();
  notice_.look_at_load(kLimit / 2, kLimit, kSecond);
  EXPECT_FALSE(notice_.take_progress(kSecond));
  notice_.look_at_load(kLimit / 2 + 1, kLimit, kSecond);
  EXPECT_TRUE(notice_.progress_due());
  EXPECT_TRUE(notice_.take_progress(kSecond));
  EXPECT_FALSE(notice_.take_progress(kSecond));
  notice_.look_at_load(kLimit, kLimit, kSecond + kSecond / 2 - 1);
  EXPECT_FALSE(notice_.progress_due());
  notice_.look_at_load(kLimit, kLimit, kSecond + kSecond / 2);
  EXPECT_TRUE(notice_.progress_due());
}

TEST_F(NoticeTest, OneOfManyThreadsHasItPrinted) {
  notice_.allow();
  notice_.look(kLimit, kLimit, 0, kMiB, kSecond);
  EXPECT_TRUE(notice_.due());
  EXPECT_TRUE(notice_.take(kSecond));
  EXPECT_FALSE(notice_.take(kSecond));
}

}  // namespace
}  // namespace oomguard::budget
