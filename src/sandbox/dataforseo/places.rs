//! The locations and languages that the stand-in knows: countries by the provider's codes (2000 + ISO 3166), and the
//! languages it searches in.

/// Name, code, the search engine's domain there.
const COUNTRIES: [(&str, u64, &str); 32] = [
    ("United States", 2840, "google.com"),
    ("United Kingdom", 2826, "google.co.uk"),
    ("Germany", 2276, "google.de"),
    ("France", 2250, "google.fr"),
    ("Spain", 2724, "google.es"),
    ("Italy", 2380, "google.it"),
    ("Netherlands", 2528, "google.nl"),
    ("Belgium", 2056, "google.be"),
    ("Austria", 2040, "google.at"),
    ("Switzerland", 2756, "google.ch"),
    ("Poland", 2616, "google.pl"),
    ("Portugal", 2620, "google.pt"),
    ("Sweden", 2752, "google.se"),
    ("Norway", 2578, "google.no"),
    ("Denmark", 2208, "google.dk"),
    ("Finland", 2246, "google.fi"),
    ("Ireland", 2372, "google.ie"),
    ("Greece", 2300, "google.gr"),
    ("Czechia", 2203, "google.cz"),
    ("Romania", 2642, "google.ro"),
    ("Ukraine", 2804, "google.com.ua"),
    ("Turkiye", 2792, "google.com.tr"),
    ("Canada", 2124, "google.ca"),
    ("Mexico", 2484, "google.com.mx"),
    ("Brazil", 2076, "google.com.br"),
    ("Argentina", 2032, "google.com.ar"),
    ("Australia", 2036, "google.com.au"),
    ("New Zealand", 2554, "google.co.nz"),
    ("India", 2356, "google.co.in"),
    ("Japan", 2392, "google.co.jp"),
    ("Singapore", 2702, "google.com.sg"),
    ("South Africa", 2710, "google.co.za"),
];

const LANGUAGES: [(&str, &str); 25] = [
    ("English", "en"),
    ("German", "de"),
    ("French", "fr"),
    ("Spanish", "es"),
    ("Italian", "it"),
    ("Dutch", "nl"),
    ("Polish", "pl"),
    ("Portuguese", "pt"),
    ("Swedish", "sv"),
    ("Norwegian", "no"),
    ("Danish", "da"),
    ("Finnish", "fi"),
    ("Greek", "el"),
    ("Czech", "cs"),
    ("Romanian", "ro"),
    ("Ukrainian", "uk"),
    ("Turkish", "tr"),
    ("Japanese", "ja"),
    ("Korean", "ko"),
    ("Chinese (Simplified)", "zh-CN"),
    ("Chinese (Traditional)", "zh-TW"),
    ("Arabic", "ar"),
    ("Hebrew", "he"),
    ("Hindi", "hi"),
    ("Vietnamese", "vi"),
];

/// Countries by the table; regions and cities have codes of seven digits, and are taken as they come.
pub(super) fn is_location(code: u64) -> bool {
    COUNTRIES.iter().any(|(_, known, _)| *known == code) || (1_000_000..=9_999_999).contains(&code)
}

/// `City,Region,Country`: the country decides.
pub(super) fn location_of(name: &str) -> Option<u64> {
    let country = name.rsplit(',').next()?.trim();
    COUNTRIES.iter().find(|(known, _, _)| known.eq_ignore_ascii_case(country)).map(|(_, code, _)| *code)
}

pub(super) fn domain_of(code: u64) -> String {
    COUNTRIES.iter().find(|(_, known, _)| *known == code).map_or("google.com", |(_, _, domain)| domain).to_owned()
}

pub(super) fn is_language(code: &str) -> bool {
    LANGUAGES.iter().any(|(_, known)| *known == code)
}

pub(super) fn language_of(name: &str) -> Option<&'static str> {
    LANGUAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, code)| *code)
}
