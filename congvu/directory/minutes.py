"""Biên bản: what is written down when a mailbox goes to another clerk (row 3.14: account and all contents, secrecy
kept). A value; whoever makes papers of it takes the facts, or the plain text."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Party:
    """Who gives or takes. Empty when nobody was assigned."""

    name: str = ""
    title: str = ""
    address: str = ""

    def __str__(self) -> str:
        said = ", ".join(word for word in (self.title, self.address) if word)
        return f"{self.name} ({said})" if said and self.name else self.name or "(chưa giao ai)"


@dataclass(frozen=True, slots=True)
class Minutes:
    """The facts of one hand-over."""

    address: str
    name: str  # of the mailbox
    unit: str
    day: date
    gives: Party
    takes: Party
    letters: int
    octets: int
    by: str
    request: int
    why: str

    def text(self) -> str:
        """As it is read and signed, in Vietnamese."""
        grounds = [f"phiếu yêu cầu số {self.request}"] if self.request else []
        grounds += [self.why] if self.why else []
        size = f"{self.octets / 2**20:,.1f}".replace(",", "\0").replace(".", ",").replace("\0", ".")
        letters = f"{self.letters:,}".replace(",", ".")
        return "\n".join(
            (
                "BIÊN BẢN BÀN GIAO HỘP THƯ ĐIỆN TỬ CÔNG VỤ",
                "",
                f"Ngày {self.day.day} tháng {self.day.month} năm {self.day.year}",
                f"Căn cứ: {'; '.join(grounds) or '(không nêu)'}",
                f"Hộp thư: {self.name} <{self.address}>",
                f"Cơ quan, đơn vị: {self.unit or '(không thuộc đơn vị nào)'}",
                f"Bên giao: {self.gives}",
                f"Bên nhận: {self.takes}",
                "",
                f"1. Bên giao bàn giao tài khoản và toàn bộ nội dung hộp thư: {letters} thư, {size} MB.",
                "2. Mật khẩu cũ hết hiệu lực; mọi phiên đăng nhập của bên giao đã kết thúc; bên nhận phải đổi mật khẩu"
                " ở lần đăng nhập đầu tiên.",
                "3. Bên giao không giữ bản sao và giữ bí mật nội dung đã biết; bên nhận chịu trách nhiệm quản lý,"
                " sử dụng hộp thư kể từ thời điểm bàn giao.",
                "",
                f"Người thực hiện trên hệ thống: {self.by}",
                "",
                "BÊN GIAO                    BÊN NHẬN",
            )
        )
