//! Who does something by hand, as their organisation names them: in the evidence log of all they do.

/// Longest name of an operator, in characters.
const LONGEST: usize = 64;

/// The name of an operator: 1 to 64 characters, none of them a control character, no outer spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an operator's name has 1 to {LONGEST} characters, none of them a control character")]
pub struct BadOperator;

impl Operator {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Operator {
    type Err = BadOperator;

    fn from_str(name: &str) -> Result<Self, BadOperator> {
        let named = (1..=LONGEST).contains(&name.chars().count())
            && !name.chars().any(char::is_control)
            && name.trim() == name;
        if named { Ok(Self(name.to_owned())) } else { Err(BadOperator) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_has_a_name_of_one_line() {
        for name in ["戸籍係 1", "a"] {
            assert!(name.parse::<Operator>().is_ok(), "{name}");
        }
        for name in ["", " a", "a\nb", &"x".repeat(LONGEST + 1)] {
            assert!(name.parse::<Operator>().is_err(), "{name}");
        }
    }
}
