//! Makes texts that nobody has seen before, in the forms people write: course plans, offers, minutes, letters, tables.
//! Each tells what it says, so that an answer can be held against it.

/// A text and some of the facts in it.
pub struct Text {
    pub text: String,
    pub title: String,
    pub person: String,
    pub email: String,
    /// As the text writes it, and as ISO 8601.
    pub day: (String, String),
    pub price: u64,
    pub topics: Vec<String>,
}

/// A small generator of numbers (PCG's step), so that a text can be made again from its seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn word(&mut self) -> String {
        const STARTS: [&str; 16] = ["ba", "ko", "mi", "tu", "re", "lo", "sa", "vi", "ne", "dra", "gel", "pho", "qua", "zir", "wen", "hal"];
        const ENDS: [&str; 12] = ["ton", "rel", "mica", "vant", "dox", "lis", "rium", "shade", "plex", "gora", "fen", "nix"];
        let middle = if self.below(2) == 0 { STARTS[self.below(STARTS.len())] } else { "" };
        format!("{}{middle}{}", STARTS[self.below(STARTS.len())], ENDS[self.below(ENDS.len())])
    }

    fn name(&mut self) -> String {
        let word = self.word();
        let mut chars = word.chars();
        chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect()
    }

    fn sentence(&mut self) -> String {
        let words: Vec<String> = (0..5 + self.below(7)).map(|_| self.word()).collect();
        format!("{} {}.", self.name(), words.join(" "))
    }
}

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

fn day(dice: &mut Dice) -> (String, String) {
    let (year, month, day) = (2026 + dice.below(4), 1 + dice.below(12), 1 + dice.below(28));
    let iso = format!("{year}-{month:02}-{day:02}");
    let written = match dice.below(3) {
        0 => iso.clone(),
        1 => format!("{} {day}, {year}", MONTHS[month - 1]),
        _ => format!("{day} {} {year}", MONTHS[month - 1]),
    };
    (written, iso)
}

/// The text of `seed`; its form changes with it.
pub fn text(seed: u64) -> Text {
    let dice = &mut Dice::new(seed);
    let title = format!("{} {}", dice.name(), dice.name());
    let person = format!("{} {}", dice.name(), dice.name());
    let email = format!("{}@{}.example.org", dice.word(), dice.word());
    let day = day(dice);
    let price = 10 + dice.below(9_000) as u64;
    let topics: Vec<String> = (0..3 + dice.below(6)).map(|_| format!("{} {}", dice.name(), dice.word())).collect();
    let prose = format!("{} {}", dice.sentence(), dice.sentence());
    let facts = Text { text: String::new(), title, person, email, day, price, topics };
    let text = match seed % 5 {
        0 => syllabus(&facts, &prose),
        1 => plain(&facts, &prose),
        2 => letter(&facts, &prose),
        3 => table(&facts, &prose),
        _ => minutes(&facts, &prose),
    };
    Text { text, ..facts }
}

fn syllabus(f: &Text, prose: &str) -> String {
    let weeks: Vec<String> = (1..).zip(&f.topics).map(|(n, topic)| format!("- Week {n}: {topic}")).collect();
    let Text { title, person, email, day, price, .. } = f;
    format!(
        "# {title}\n\n**Instructor:** Dr. {person} ({email})\n**Fee:** ${price}\n\n## Overview\n{prose}\n\n## Topics\n{}\n\nThe deadline is {}.\n",
        weeks.join("\n"),
        day.0
    )
}

fn plain(f: &Text, prose: &str) -> String {
    let topics: Vec<String> = (1..).zip(&f.topics).map(|(n, topic)| format!("{n}. {topic}")).collect();
    let Text { title, person, email, day, price, .. } = f;
    format!(
        "{title}\n\nTeacher: {person}\nE-mail: {email}\nPrice: {price} EUR\nDue date: {}\n\n{prose}\n\nTopics:\n{}\n",
        day.0,
        topics.join("\n")
    )
}

fn letter(f: &Text, prose: &str) -> String {
    let Text { title, person, email, day, price, topics, .. } = f;
    format!(
        "Title: {title}\n\nDear all,\n\n{prose} The course costs {price} USD in total and is due by {}.\nTopics: {}\n\nWrite to {email}.\n\nYours,\nDr. {person}\n",
        day.0,
        topics.join(", ")
    )
}

fn table(f: &Text, prose: &str) -> String {
    let rows: Vec<String> = (1..).zip(&f.topics).map(|(n, topic)| format!("| {n} | {topic} |")).collect();
    let Text { title, person, email, day, price, .. } = f;
    format!(
        "{title}\n=======\n\n{prose}\n\n| Week | Topic |\n|---|---|\n{}\n\nLecturer: {person} | Contact: {email}\nCost: €{price}\nDeadline: {}\n",
        rows.join("\n"),
        day.0
    )
}

fn minutes(f: &Text, prose: &str) -> String {
    let topics: Vec<String> = f.topics.iter().map(|topic| format!("* {topic}")).collect();
    let Text { title, person, email, day, price, .. } = f;
    format!(
        "## {title}\n\nDate: {}\nAuthor: {person} <{email}>\nAmount: {price} USD\n\n### Topics\n{}\n\n### Notes\n{prose}\n",
        day.0,
        topics.join("\n")
    )
}
