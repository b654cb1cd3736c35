//! Which installed files a user counts as the program's own: an application in `site-packages`, or a folder of company code.

use std::str::FromStr;
use std::sync::Arc;

/// One pattern: the name of a package or module (`shop`, `shop_*`), or, with a slash in it, a path
/// (`/opt/company/*/handlers`), where `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPattern(glob::Pattern);

impl FromStr for OwnPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<OwnPattern, String> {
        let text = text.trim().trim_end_matches('/');
        if text.is_empty() {
            return Err("a package, a module or a path is wanted".to_owned());
        }
        glob::Pattern::new(text).map(OwnPattern).map_err(|error| error.msg.to_owned())
    }
}

impl OwnPattern {
    fn matches(&self, file: &str) -> bool {
        let is_path = self.0.as_str().contains('/');
        if !is_path {
            return file.split('/').any(|part| self.0.matches(part) || self.0.matches(stem(part)));
        }
        // A folder stands for all that is in it.
        self.0.matches(file) || file.match_indices('/').any(|(end, _)| self.0.matches(&file[..end]))
    }
}

fn stem(part: &str) -> &str {
    part.strip_suffix(".py").unwrap_or(part)
}

/// All patterns of a user; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPatterns(Arc<[OwnPattern]>);

impl OwnPatterns {
    pub fn new(patterns: &[OwnPattern]) -> OwnPatterns {
        OwnPatterns(patterns.into())
    }

    /// Whether a file counts as the program's own.
    pub fn matches(&self, file: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_a_module_or_a_folder_is_ones_own() {
        let matches = |pattern: &str, file: &str| OwnPatterns::new(&[pattern.parse().unwrap()]).matches(file);
        const FILE: &str = "/v/lib/python3.12/site-packages/shop/orders.py";
        assert!(matches("shop", FILE) && matches("sho*", FILE) && matches("orders", FILE));
        assert!(
            !matches("sho", FILE) && !matches("order", FILE) && !matches("shop", "/v/site-packages/shopify/a.py")
        );
        assert!(matches("/v/lib/*/shop", FILE) && matches("/v/lib/*/shop/", FILE) && matches("/v", FILE));
        assert!(!matches("/v/lib/*/sho", FILE) && !matches("/lib", FILE));
        assert!("".parse::<OwnPattern>().is_err() && "***".parse::<OwnPattern>().is_err());
        assert!(!OwnPatterns::default().matches(FILE));
    }
}
